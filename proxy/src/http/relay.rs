//! Opaque bytes, both ways, until both sides are done or a new generation denies it.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::stream::{Prefixed, UpstreamIo};

const BUFFER: usize = 16 * 1024;

/// A client's stream, as far as cutting it goes.
pub(super) trait Severable {
    /// Makes closing it reset the connection, where it can.
    fn reset_on_close(&self);
}

impl Severable for TcpStream {
    fn reset_on_close(&self) {
        let _ = self.set_zero_linger();
    }
}

impl<S: Severable> Severable for Prefixed<S> {
    fn reset_on_close(&self) {
        self.get_ref().reset_on_close();
    }
}

impl<S: Severable> Severable for tokio_rustls::server::TlsStream<S> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }
}

/// Relays with half-closes kept apart. Cut: both connections are reset.
pub(super) async fn opaque<C>(
    mut client: C,
    mut upstream: Prefixed<UpstreamIo>,
    cut: &CancellationToken,
) -> io::Result<(u64, u64)>
where
    C: AsyncRead + AsyncWrite + Severable + Unpin,
{
    let relayed = tokio::select! {
        biased;
        () = cut.cancelled() => None,
        result = copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER) => Some(result),
    };
    relayed.unwrap_or_else(|| {
        client.reset_on_close();
        upstream.get_ref().reset_on_close();
        Err(io::ErrorKind::ConnectionAborted.into())
    })
}
