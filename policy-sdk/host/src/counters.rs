//! Counters that the host keeps for policies, over sliding windows.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest key, in bytes.
pub const MAX_KEY: usize = 1024;
/// Longest window, in seconds: 31 days.
pub const MAX_WINDOW: u32 = 31 * 24 * 3600;
/// Most windows that one key is asked about.
const MAX_WINDOWS: usize = 8;
/// Most keys at a time.
const MAX_KEYS: usize = 65_536;
/// A window is kept in this many slices.
const SLICES: u64 = 64;

/// Why a counter could not be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CounterError {
    /// Key longer than [`MAX_KEY`].
    #[error("counter key has {found} bytes; the limit is {MAX_KEY}")]
    Key {
        /// Its length.
        found: usize,
    },
    /// Window of 0 seconds, or longer than [`MAX_WINDOW`].
    #[error("counter window of {found} s; it must be 1 to {MAX_WINDOW}")]
    Window {
        /// The window.
        found: u32,
    },
    /// One key, too many different windows.
    #[error("one counter key was asked about more than {MAX_WINDOWS} windows")]
    Windows,
    /// Too many keys at a time.
    #[error("more than {MAX_KEYS} counters")]
    Full,
}

/// Host-kept sliding windows: one of these per sandbox, shared by its generations, so that a swap loses no count.
///
/// A count belongs to a binding and a key; two policies never share one. A window is kept in 64 slices and the oldest
/// slice counts whole, so a sum may include what was added up to 1/64 of the window before it began: never less than
/// the truth.
pub struct Counters {
    started: Instant,
    keys: Mutex<Keys>,
}

/// By binding and key.
type Keys = HashMap<(Arc<str>, String), Vec<Window>, ahash::RandomState>;

struct Window {
    seconds: u32,
    /// Slice number (time / slice length) and what was added in it, oldest first.
    slices: VecDeque<(u64, u64)>,
    sum: u64,
}

impl Counters {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self { started: Instant::now(), keys: Mutex::default() }
    }

    /// Adds to a counter and answers its sum over the last `window` seconds, saturating. A window counts from the first
    /// time it is asked about.
    pub fn add(&self, binding: &Arc<str>, key: &str, amount: u64, window: u32) -> Result<u64, CounterError> {
        self.add_at(binding, key, amount, window, self.started.elapsed())
    }

    fn add_at(
        &self,
        binding: &Arc<str>,
        key: &str,
        amount: u64,
        window: u32,
        now: Duration,
    ) -> Result<u64, CounterError> {
        if key.len() > MAX_KEY {
            return Err(CounterError::Key { found: key.len() });
        }
        if window == 0 || window > MAX_WINDOW {
            return Err(CounterError::Window { found: window });
        }
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let mut keys = self.lock();
        let id = (Arc::clone(binding), key.to_owned());
        if !keys.contains_key(&id) && keys.len() >= MAX_KEYS {
            keys.retain(|_, windows| windows.iter_mut().any(|window| window.expire(now) > 0));
            if keys.len() >= MAX_KEYS {
                return Err(CounterError::Full);
            }
        }
        let windows = keys.entry(id).or_default();
        if !windows.iter().any(|kept| kept.seconds == window) {
            if windows.len() >= MAX_WINDOWS {
                return Err(CounterError::Windows);
            }
            windows.push(Window { seconds: window, slices: VecDeque::new(), sum: 0 });
        }
        let mut answer = 0;
        for kept in windows {
            let sum = kept.add(amount, now);
            if kept.seconds == window {
                answer = sum;
            }
        }
        Ok(answer)
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counters").field("keys", &self.lock().len()).finish()
    }
}

impl Window {
    fn slice_ms(&self) -> u64 {
        (u64::from(self.seconds) * 1000).div_ceil(SLICES)
    }

    fn add(&mut self, amount: u64, now: u64) -> u64 {
        self.expire(now);
        let slice = now / self.slice_ms();
        if amount > 0 {
            match self.slices.back_mut() {
                Some((last, sum)) if *last == slice => *sum = sum.saturating_add(amount),
                _ => self.slices.push_back((slice, amount)),
            }
            self.sum = self.slices.iter().fold(0, |sum, (_, added)| sum.saturating_add(*added));
        }
        self.sum
    }

    /// Drops slices that ended before the window began; answers what is left.
    fn expire(&mut self, now: u64) -> u64 {
        let begin = now.saturating_sub(u64::from(self.seconds) * 1000);
        let oldest = begin / self.slice_ms();
        let before = self.slices.len();
        while self.slices.front().is_some_and(|(slice, _)| *slice < oldest) {
            self.slices.pop_front();
        }
        if self.slices.len() != before {
            self.sum = self.slices.iter().fold(0, |sum, (_, added)| sum.saturating_add(*added));
        }
        self.sum
    }
}

#[cfg(test)]
mod tests;
