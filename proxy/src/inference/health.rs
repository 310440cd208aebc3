//! Which backends are worth asking: one that keeps failing is left alone for a while, then asked once.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row after which a backend is left alone.
const FAILURES: u32 = 5;
/// How long at first; it doubles with each trial that fails.
const COOLDOWN: Duration = Duration::from_secs(1);
/// How long at most.
const LONGEST: Duration = Duration::from_secs(60);

/// What is known of each backend of a sandbox.
#[derive(Debug, Default)]
pub struct Health(Mutex<BTreeMap<String, State>>);

#[derive(Debug, Default)]
struct State {
    /// Failures since it last served.
    failures: u32,
    /// It is left alone until then.
    until: Option<Instant>,
    /// Somebody is asking it, to see whether it is back.
    trial: bool,
    cooldown: Duration,
}

/// Whether a backend may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Open,
    /// It is left alone for so long.
    Closed(Duration),
}

impl Health {
    /// Whether it may be asked at `now`. After its time has passed one caller may, and what becomes of that decides.
    pub fn admit(&self, backend: &str, now: Instant) -> Admission {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = all.get_mut(backend) else { return Admission::Open };
        match state.until {
            None => Admission::Open,
            Some(until) if until > now => Admission::Closed(until - now),
            Some(_) if state.trial => Admission::Closed(state.cooldown),
            Some(_) => {
                state.trial = true;
                Admission::Open
            }
        }
    }

    /// It served.
    pub fn served(&self, backend: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(backend);
    }

    /// It failed at `now`, or said that it has no capacity for `retry_after`.
    pub fn failed(&self, backend: &str, now: Instant, retry_after: Option<Duration>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = all.entry(backend.to_owned()).or_default();
        state.failures = state.failures.saturating_add(1);
        if let Some(wait) = retry_after {
            state.until = Some(now + wait.min(LONGEST));
        } else if state.failures >= FAILURES {
            state.cooldown = if state.cooldown.is_zero() { COOLDOWN } else { (state.cooldown * 2).min(LONGEST) };
            state.until = Some(now + state.cooldown);
        }
        state.trial = false;
    }

    /// Whoever was admitted did not find out: the caller hung up, or nothing was sent.
    pub fn unknown(&self, backend: &str) {
        if let Some(state) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(backend) {
            state.trial = false;
        }
    }
}
