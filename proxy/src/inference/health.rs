//! Which backends are worth asking: one that keeps failing is left alone until a probe finds it alive, then asked once.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
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
    /// A probe is at it, and nobody asks before it has an answer.
    probed: bool,
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
        let mut all = self.all();
        let Some(state) = all.get_mut(backend) else { return Admission::Open };
        match state.until {
            None => Admission::Open,
            Some(until) if until > now => Admission::Closed(until - now),
            Some(_) if state.trial || state.probed => Admission::Closed(state.cooldown),
            Some(_) => {
                state.trial = true;
                Admission::Open
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It served.
    pub fn served(&self, backend: &str) {
        self.all().remove(backend);
    }

    /// It failed at `now`, or said that it has no capacity for `retry_after`. Answers when to probe it, where nobody does yet: from then
    /// on [`Health::probed`] or [`Health::unprobed`] decide whether it is asked again.
    #[must_use]
    pub fn failed(&self, backend: &str, now: Instant, retry_after: Option<Duration>) -> Option<Duration> {
        let mut all = self.all();
        let state = all.entry(backend.to_owned()).or_default();
        state.failures = state.failures.saturating_add(1);
        state.trial = false;
        if let Some(wait) = retry_after {
            state.until = Some(now + wait.min(LONGEST));
            return None;
        }
        if state.failures < FAILURES {
            return None;
        }
        state.leave_alone(now);
        (!std::mem::replace(&mut state.probed, true)).then_some(state.cooldown)
    }

    /// Whether a probe is still wanted: nobody was served meanwhile.
    pub fn is_probed(&self, backend: &str) -> bool {
        self.all().get(backend).is_some_and(|state| state.probed)
    }

    /// What a probe found at `now`. Alive, one caller may ask it at once; else it answers when to probe it again.
    #[must_use]
    pub fn probed(&self, backend: &str, now: Instant, alive: bool) -> Option<Duration> {
        let mut all = self.all();
        let state = all.get_mut(backend).filter(|state| state.probed)?;
        if alive {
            state.probed = false;
            state.until = Some(now);
            return None;
        }
        state.leave_alone(now);
        Some(state.cooldown)
    }

    /// Nobody can probe it: a caller finds out once its time has passed.
    pub fn unprobed(&self, backend: &str) {
        if let Some(state) = self.all().get_mut(backend) {
            state.probed = false;
        }
    }

    /// Whoever was admitted did not find out: the caller hung up, or nothing was sent.
    pub fn unknown(&self, backend: &str) {
        if let Some(state) = self.all().get_mut(backend) {
            state.trial = false;
        }
    }
}

impl State {
    fn leave_alone(&mut self, now: Instant) {
        self.cooldown = if self.cooldown.is_zero() { COOLDOWN } else { (self.cooldown * 2).min(LONGEST) };
        self.until = Some(now + self.cooldown);
    }
}
