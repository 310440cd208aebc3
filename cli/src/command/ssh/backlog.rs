//! Input that a client has sent and that a stream has not taken yet.
//!
//! russh grants a client more as soon as data arrives, whether it was passed on or not, and calls the handler in the loop
//! that also reads the client's grants for output. A handler that simply waited could wait for itself: `cat` takes no more
//! input before its output goes. So what waits is counted; beyond a limit the client is granted a trickle, and each
//! arrival is held up for a moment only.
//!
//! What a grant comes to is said for the next one, whichever channel's that is. Where one channel's input waits and
//! another's flows, they take turns: the one that waits has its arrivals held up, and so finds the other's before it. What
//! is said after its turn is therefore the other's, and the reverse.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::WINDOW;

/// Bytes that may wait before the client is slowed down.
const LIMIT: usize = WINDOW as usize;
/// Granted where input waits, in bytes.
const TRICKLE: u32 = 64;
/// Granted to a channel that takes turns with one whose input waits, in bytes. Not more than a pipe holds, so that all of it
/// comes before the other's turn.
const SHARE: u32 = 64 * 1024;
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

/// What a client is granted next, after a grant to a channel: `long` if its input waits, `any` if any channel's does,
/// `alternates` if the grant before went to another whose input does not.
pub fn next_grant(long: bool, any: bool, alternates: bool) -> u32 {
    match (any, long && alternates) {
        (false, _) => WINDOW,
        (true, true) => SHARE,
        (true, false) => TRICKLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_holds_up_its_client_and_never_stops_it() {
        let backlog = Backlog::default();
        backlog.add(LIMIT);
        assert!(!backlog.is_long());
        backlog.add(1);
        let began = std::time::Instant::now();
        backlog.pause().await;
        assert!(backlog.is_long() && began.elapsed() >= PAUSE, "it goes on although nothing was taken, and later");
        backlog.remove(1);
        let went_on = tokio::select! {
            biased;
            () = backlog.pause() => true,
            () = std::future::ready(()) => false,
        };
        assert!(went_on && !backlog.is_long(), "nothing holds it up");
    }

    #[test]
    fn grants_take_turns() {
        for (long, any, alternates, expected) in [
            (false, false, false, WINDOW),
            (false, false, true, WINDOW),
            (true, true, false, TRICKLE),
            (true, true, true, SHARE),
            (false, true, false, TRICKLE),
            (false, true, true, TRICKLE),
        ] {
            assert_eq!(next_grant(long, any, alternates), expected, "{long} {any} {alternates}");
        }
    }
}
