//! The circuit breaker: a policy that keeps failing is not asked for a while.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::Quarantine;
use crate::failure::Failure;

/// A cooldown doubles this often at most.
const MAX_DOUBLINGS: u32 = 5;

/// Closed: everything passes. Open: nothing does, until the cooldown is over. Then one question passes: its answer
/// closes the breaker, its failure opens it again for longer.
pub(crate) struct Breaker {
    options: Quarantine,
    /// Failures in a row. While it is below the threshold nothing else is looked at.
    failures: AtomicU32,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    until: Option<Instant>,
    doublings: u32,
    trial: bool,
    last: String,
}

impl Breaker {
    pub(crate) fn new(options: Quarantine) -> Self {
        Self { options, failures: AtomicU32::new(0), open: Mutex::default() }
    }

    /// Whether a question may be asked.
    pub(crate) fn admit(&self) -> Result<(), Failure> {
        let failures = self.failures.load(Ordering::Relaxed);
        if !self.tripped(failures) {
            return Ok(());
        }
        let mut open = self.lock();
        let over = open.until.is_none_or(|until| Instant::now() >= until);
        if over && !open.trial {
            open.trial = true;
            return Ok(());
        }
        Err(Failure::Quarantined { failures, last: open.last.clone() })
    }

    pub(crate) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            let mut open = self.lock();
            self.failures.store(0, Ordering::Relaxed);
            *open = Open::default();
        }
    }

    pub(crate) fn failed(&self, failure: &Failure) {
        let mut open = self.lock();
        let failures = self.failures.load(Ordering::Relaxed).saturating_add(1);
        self.failures.store(failures, Ordering::Relaxed);
        if self.tripped(failures) {
            if open.trial {
                open.doublings = (open.doublings + 1).min(MAX_DOUBLINGS);
            }
            let cooldown = self.options.cooldown.saturating_mul(1 << open.doublings);
            open.until = Instant::now().checked_add(cooldown.min(Duration::from_secs(24 * 3600)));
            open.trial = false;
            open.last = failure.to_string();
        }
    }

    /// A question that was admitted got neither an answer nor a failure of the policy's own.
    pub(crate) fn undecided(&self) {
        if self.tripped(self.failures.load(Ordering::Relaxed)) {
            self.lock().trial = false;
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.tripped(self.failures.load(Ordering::Relaxed))
    }

    fn tripped(&self, failures: u32) -> bool {
        self.options.after > 0 && failures >= self.options.after
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
