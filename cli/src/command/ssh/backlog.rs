//! Input that a client has sent and that a stream has not taken yet.
//!
//! russh grants a client more as soon as data arrives, whether it was passed on or not, and calls the handler in the loop
//! that also reads the client's grants for output. A handler that simply waited could wait for itself: `cat` takes no more
//! input before its output goes. So what waits is counted; beyond a limit the client is granted a trickle, and each
//! arrival is held up for a moment only.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::WINDOW;

/// Bytes that may wait before the client is slowed down.
const LIMIT: usize = WINDOW as usize;
/// Granted to a client whose input waits, in bytes.
const TRICKLE: u32 = 64;
/// Granted on a connection on which another channel's input waits: the grant may fall to that one.
const MEAGRE: u32 = 32 * 1024;
/// How long an arrival is held up where input waits.
const PAUSE: Duration = Duration::from_millis(10);

/// What waits on one channel.
#[derive(Debug, Default)]
pub struct Backlog {
    bytes: AtomicUsize,
    taken: Notify,
}

impl Backlog {
    /// So much has arrived.
    pub fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// So much of it was passed on.
    pub fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.taken.notify_one();
    }

    /// Whether too much waits.
    pub fn is_long(&self) -> bool {
        self.bytes.load(Ordering::Acquire) > LIMIT
    }

    /// Waits until less waits, but never for long.
    pub async fn pause(&self) {
        let shorter = async {
            while self.is_long() {
                self.taken.notified().await;
            }
        };
        // Going on is right in either case.
        let _ = tokio::time::timeout(PAUSE, shorter).await;
    }
}

/// What a client is granted next.
pub fn grant(this: Option<&Backlog>, mut others: impl Iterator<Item = impl AsRef<Backlog>>) -> u32 {
    match this.is_some_and(Backlog::is_long) {
        true => TRICKLE,
        false if others.any(|other| other.as_ref().is_long()) => MEAGRE,
        false => WINDOW,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_client_is_slowed_down_and_never_stopped() {
        let (this, other) = (Arc::new(Backlog::default()), Arc::new(Backlog::default()));
        let both = [this.clone(), other.clone()];
        assert_eq!(grant(Some(&this), both.iter()), WINDOW);
        this.add(LIMIT);
        assert_eq!(grant(Some(&this), both.iter()), WINDOW);
        this.add(1);
        assert_eq!((grant(Some(&this), both.iter()), grant(Some(&other), both.iter())), (TRICKLE, MEAGRE));
        let began = std::time::Instant::now();
        this.pause().await;
        assert!(began.elapsed() >= PAUSE, "it goes on although nothing was taken, and later");
        this.remove(1);
        let went_on = tokio::select! {
            biased;
            () = this.pause() => true,
            () = std::future::ready(()) => false,
        };
        assert!(went_on, "nothing holds it up");
        assert_eq!(grant(Some(&this), both.iter()), WINDOW);
    }
}
