//! Whether an engine answers, since when it does not, and how large its machine is.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use openshell_api::runtime::RuntimeHealth;

use super::engine::Engine;

/// How often an engine is asked for a sign of life.
const EVERY: Duration = Duration::from_secs(2);
/// Every so many signs of life it is asked how large its machine is.
const SIZED: u32 = 30;

/// A machine's size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacity {
    /// Processor cores.
    pub cpus: f64,
    /// Bytes.
    pub memory: u64,
}

/// What is known of an engine.
#[derive(Debug, Clone, Default)]
pub struct Vitals {
    /// Since when it does not answer; absent: it does, or was not asked yet.
    pub silent: Option<(Instant, jiff::Timestamp)>,
    /// What was heard instead.
    pub problem: Option<String>,
    /// Whether it has answered since the gateway began.
    pub answered: bool,
    /// Its machine's size, once it said so.
    pub capacity: Option<Capacity>,
}

impl Vitals {
    /// Whether it can be used. One that is `expected` is missed even if it never answered.
    pub fn health(&self, lost_after: Duration, expected: bool) -> RuntimeHealth {
        match self.silent {
            Some((since, _)) if (expected || self.answered) && since.elapsed() >= lost_after => RuntimeHealth::Lost,
            None if self.answered => RuntimeHealth::Answers,
            _ => RuntimeHealth::Silent,
        }
    }
}

/// Keeps asking.
#[derive(Default)]
pub(super) struct Pulse(Mutex<Vitals>);

impl Pulse {
    /// Asks from now on, until the last handle is dropped.
    pub fn start(engine: Arc<Engine>) -> Arc<Self> {
        let pulse = Arc::new(Self::default());
        tokio::spawn(follow(engine, Arc::downgrade(&pulse)));
        pulse
    }

    /// What is known now.
    pub fn vitals(&self) -> Vitals {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It answered just now.
    pub fn beat(&self, capacity: Option<Capacity>) {
        let mut vitals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (vitals.silent, vitals.problem, vitals.answered) = (None, None, true);
        vitals.capacity = capacity.or(vitals.capacity);
    }

    /// It did not answer what it was asked then.
    pub fn miss(&self, asked: (Instant, jiff::Timestamp), problem: String) {
        let mut vitals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        vitals.silent.get_or_insert(asked);
        vitals.problem = Some(problem);
    }
}

async fn follow(engine: Arc<Engine>, pulse: Weak<Pulse>) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut until_sized = 0_u32;
    loop {
        every.tick().await;
        let began = (Instant::now(), jiff::Timestamp::now());
        let asked = match until_sized {
            0 => engine.capacity().await.map(Some),
            _ => engine.ping().await.map(|()| None),
        };
        let Some(pulse) = pulse.upgrade() else { return };
        match asked {
            Ok(capacity) => {
                until_sized = if capacity.is_some() { SIZED } else { until_sized.saturating_sub(1) };
                pulse.beat(capacity);
            }
            Err(error) => {
                until_sized = 0;
                pulse.miss(began, error.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_lost_once_it_is_missed_for_long_enough() {
        let silent = |seconds: u64| {
            Instant::now().checked_sub(Duration::from_secs(seconds)).map(|since| (since, jiff::Timestamp::now()))
        };
        let check = |silent: Option<(Instant, jiff::Timestamp)>,
                     answered: bool,
                     expected: bool,
                     health: RuntimeHealth| {
            let vitals = Vitals { silent, answered, ..Vitals::default() };
            assert_eq!(vitals.health(Duration::from_secs(30), expected), health, "{vitals:?}, expected: {expected}");
        };
        check(None, true, true, RuntimeHealth::Answers);
        check(None, false, true, RuntimeHealth::Silent);
        check(silent(5), true, true, RuntimeHealth::Silent);
        check(silent(40), true, true, RuntimeHealth::Lost);
        check(silent(40), false, true, RuntimeHealth::Lost);
        // The one of this machine may never have been there.
        check(silent(40), false, false, RuntimeHealth::Silent);
        check(silent(40), true, false, RuntimeHealth::Lost);
    }
}
