//! What a workload can make happen as often as it likes, and its supervisor's log tells only now and then.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::upstream::lock;

const EVERY: Duration = Duration::from_secs(10);

/// When something was said last.
#[derive(Default)]
pub(super) struct Seldom(Mutex<Option<Said>>);

struct Said {
    at: Instant,
    /// How often it happened since.
    unsaid: u64,
}

impl Seldom {
    /// It happened: whether to say so, and of how many more nothing was said. The first one is said.
    pub(super) fn say(&self, now: Instant) -> Option<u64> {
        let mut said = lock(&self.0);
        match &mut *said {
            Some(last) if now.saturating_duration_since(last.at) < EVERY => {
                last.unsaid += 1;
                None
            }
            last => Some(last.replace(Said { at: now, unsaid: 0 }).map_or(0, |last| last.unsaid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_and_then_one_in_ten_seconds() {
        let (seldom, began) = (Seldom::default(), Instant::now());
        let at = |seconds| seldom.say(began + Duration::from_secs(seconds));
        assert_eq!([0, 1, 9, 10, 11, 30, 31].map(at), [Some(0), None, None, Some(2), None, Some(1), None]);
    }
}
