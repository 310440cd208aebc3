//! What becomes of a call whose time is over. A deadline is for what a policy does, and not for what its machine does meanwhile: on a busy
//! one a thread may wait longer for its processor than a whole decision takes.
//!
//! The epoch's deadline is set to half of the call's. Then, and after each further half, the kernel is asked how long the thread has run
//! since the first half ended. A call that had its processor is cut off after two halves; one that had not goes on, and for ten times its
//! deadline at most. A call that ends in the first half is not looked at.

use std::time::Duration;

use wasmtime::{Store, StoreContextMut, UpdateDeadline};

use crate::state::State;
use crate::ticker::epochs;

/// A call that was not given its processor is cut off after so many times its deadline.
const MOST: u32 = 10;
/// Time that the thread has had on a processor, in nanoseconds, then other things. Counted up to the scheduler's last tick, so that a few
/// milliseconds may be missing (Documentation/scheduler/sched-stats.rst of the kernel).
const RAN: &str = "/proc/thread-self/schedstat";

/// How far a call has come with its time.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    half: Duration,
    halves: u32,
    /// What the thread had run when the first half was over.
    ran: Option<Duration>,
}

impl Clock {
    /// Half a deadline is over, and the thread has run so long; whether the call may go on.
    fn goes_on(&mut self, ran: Option<Duration>) -> bool {
        self.halves += 1;
        // A kernel that does not say how long is no reason to wait.
        let Some(ran) = ran else { return self.halves < 2 };
        let before = *self.ran.get_or_insert(ran);
        let worked = ran.saturating_sub(before) >= self.half * 3 / 4;
        !worked && self.halves < 2 * MOST
    }
}

/// Sets the time of the call that is next.
pub(crate) fn begin(store: &mut Store<State>, deadline: Duration) {
    let half = deadline / 2;
    store.data_mut().clock = Clock { half, ..Clock::default() };
    store.set_epoch_deadline(epochs(half));
}

/// To be called when the time of a store's call is over.
pub(crate) fn watch(store: &mut Store<State>) {
    store.epoch_deadline_callback(|mut context: StoreContextMut<'_, State>| {
        let clock = &mut context.data_mut().clock;
        let half = clock.half;
        Ok(match clock.goes_on(ran()) {
            true => UpdateDeadline::Continue(epochs(half)),
            false => UpdateDeadline::Interrupt,
        })
    });
}

fn ran() -> Option<Duration> {
    let text = std::fs::read_to_string(RAN).ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_the_time_that_its_thread_ran() {
        // After how many halves it is cut off, by what its thread had run after each of them, in milliseconds.
        let check = |ran: &dyn Fn(u64) -> Option<u64>, expected: u64| {
            let mut clock = Clock { half: Duration::from_millis(25), ..Clock::default() };
            let cut = (1..100).find(|n| !clock.goes_on(ran(*n).map(Duration::from_millis)));
            assert_eq!(cut, Some(expected));
        };
        check(&|n| Some(1_000 + 25 * n), 2);
        check(&|n| Some(1_000 + 20 * n), 2);
        check(&|n| Some(5 * n), 5);
        check(&|_| Some(7), u64::from(2 * MOST));
        check(&|n| Some(if n < 4 { 0 } else { 25 * n }), 4);
        check(&|_| None, 2);
    }

    #[test]
    fn the_kernel_says_what_a_thread_ran() {
        let (before, began) = (ran().unwrap(), std::time::Instant::now());
        // It counts from one tick of the scheduler to the next.
        while ran().unwrap() == before {
            assert!(began.elapsed() < Duration::from_secs(10), "it counts nothing");
        }
    }
}
