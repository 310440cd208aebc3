//! Keeps a loop of refused calls from flooding the records.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Reason, Refusal};

/// Refusals that are alike are told once in so long.
const EVERY: Duration = Duration::from_secs(10);
/// Kinds of refusals that are told apart at a time; what exceeds them in [`EVERY`] is not told.
const KINDS: usize = 256;

/// The same program, refused the same thing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    executable: String,
    host: String,
    port: u16,
    reason: Reason,
}

struct Told {
    at: Instant,
    /// Refusals since then.
    untold: u64,
}

/// What was told lately.
#[derive(Default)]
pub(super) struct Throttle(Mutex<HashMap<Kind, Told>>);

impl Throttle {
    /// Whether to tell of a refusal now; then, how many like it were passed over since the last one.
    pub fn admit(&self, refusal: &Refusal, now: Instant) -> Option<u64> {
        let kind = Kind {
            executable: refusal.caller.as_ref().map(|caller| caller.process.executable.clone()).unwrap_or_default(),
            host: refusal.destination.host.clone(),
            port: refusal.destination.port,
            reason: refusal.reason,
        };
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = told.get_mut(&kind) {
            if now.saturating_duration_since(last.at) < EVERY {
                last.untold += 1;
                return None;
            }
            last.at = now;
            return Some(std::mem::take(&mut last.untold));
        }
        if told.len() >= KINDS {
            told.retain(|_, last| now.saturating_duration_since(last.at) < EVERY);
            if told.len() >= KINDS {
                return None;
            }
        }
        told.insert(kind, Told { at: now, untold: 0 });
        Some(0)
    }
}
