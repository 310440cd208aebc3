//! HTTP/2 (RFC 9113) on both sides, on the `h2` crate itself: what hyper makes of it knows no interim answers.
//!
//! [`server`] takes a client's connection apart into requests, [`client`] sends requests on an upstream's. [`body`] is what
//! streams in either direction ([`again`]: kept to be sent again), [`tunnel`] a stream that became a WebSocket's (RFC 8441).

mod again;
mod body;
pub(super) mod client;
pub(super) mod server;
pub(super) mod tunnel;

use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

/// Flow control's window of a stream, in bytes; a connection has twice as much.
const WINDOW: u32 = 1 << 20;

/// Who answers no ping for so long is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Ends when the peer is gone: pings it so often, while it is `wanted`. The connection must be polled meanwhile.
async fn gone(mut pings: PingPong, every: Duration, wanted: impl Fn() -> bool) {
    loop {
        sleep(every).await;
        if !wanted() {
            continue;
        }
        match timeout(PING_TIMEOUT, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection has ended, and says so itself.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => return,
        }
    }
}
