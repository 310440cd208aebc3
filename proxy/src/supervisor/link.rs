//! The link to the gateway: dialled again for ever. Whatever is enforced stays enforced while it is away.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dialer::Dialer;
use super::session::{self, Desk};

/// First and longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// A link that lasted this long was a good one: the next attempt comes quickly.
const GOOD: Duration = Duration::from_secs(5);

/// Keeps a link up. Never returns.
pub async fn keep(dialer: Dialer, desk: Arc<Desk>) {
    let mut attempt = 0;
    loop {
        match dialer.dial().await {
            Ok(socket) => {
                tracing::info!("linked to the gateway");
                let begin = Instant::now();
                // A task of its own: not even a panic in it ends the supervisor.
                match tokio::spawn(session::run(socket, desk.clone())).await {
                    Ok(end) => tracing::warn!(%end, "the link to the gateway ended"),
                    Err(error) => tracing::error!(%error, "the link to the gateway broke off"),
                }
                if begin.elapsed() >= GOOD {
                    attempt = 0;
                }
            }
            Err(error) => tracing::warn!(%error, attempt, "the gateway can't be reached"),
        }
        tokio::time::sleep(pause(attempt)).await;
        attempt = attempt.saturating_add(1);
    }
}

/// Doubles with each attempt; between half and the whole of that at random, so that many supervisors don't come at once.
pub(super) fn pause(attempt: u32) -> Duration {
    let whole = PAUSES.0.saturating_mul(1 << attempt.min(16)).min(PAUSES.1);
    let random = RandomState::new().hash_one(attempt) % 1024;
    let half = whole / 2;
    half + half.mul_f64(random as f64 / 1024.0)
}
