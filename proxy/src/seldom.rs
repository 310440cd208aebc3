//! What a workload can make happen as often as it likes, and is told only now and then.

use std::time::{Duration, Instant};

/// What is alike is told once in so long.
const EVERY: Duration = Duration::from_secs(10);

/// When it was told last; by default never.
#[derive(Default)]
pub struct Seldom {
    told: Option<Instant>,
    /// How often it happened since.
    untold: u64,
}

impl Seldom {
    /// It happened: whether to tell, and of how many more nothing was told since the last time.
    pub fn happened(&mut self, now: Instant) -> Option<u64> {
        if self.is_recent(now) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }

    /// Whether it was told so lately that it would not be now.
    pub fn is_recent(&self, now: Instant) -> bool {
        self.told.is_some_and(|told| now.saturating_duration_since(told) < EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_then_one_in_ten_seconds() {
        let (mut seldom, began) = (Seldom::default(), Instant::now());
        let at = |seconds| seldom.happened(began + Duration::from_secs(seconds));
        assert_eq!([0, 1, 9, 10, 11, 30, 31].map(at), [Some(0), None, None, Some(2), None, Some(1), None]);
    }
}
