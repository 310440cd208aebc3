//! A task that wakes itself goes on at once.
//!
//! A connection's task holds both ends of the channels between a connection and its requests, so it wakes itself several times per
//! request. Tokio takes a task that is woken while it is polled for one that yields: it queues it anew and wakes another worker, which takes
//! it over or finds nothing and sleeps again. With one client that was a quarter of the proxy's time.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// How often a future is polled in a row before others have their turn. A request takes three or four.
const TURNS: u32 = 16;

/// It is being polled: a wake is noted, and the future polled again. Else a wake is its task's.
const POLLED: u8 = 1;
/// It was woken since it began to be polled.
const WOKEN: u8 = 2;

#[derive(Default)]
struct Inner {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Wake for Inner {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Written even where it stands there already: the next poll reads it, and with it whatever this wake is about.
        if self.state.fetch_or(WOKEN, Ordering::AcqRel) & POLLED == 0 {
            self.task.wake();
        }
    }
}

/// Runs a future, which is polled again as long as it is woken while it is polled.
pub(super) async fn settled<F: Future>(future: F) -> F::Output {
    let inner = Arc::<Inner>::default();
    let waker = Waker::from(inner.clone());
    let mut future = pin!(future);
    poll_fn(move |cx| {
        inner.task.register(cx.waker());
        for _ in 0..TURNS {
            inner.state.swap(POLLED, Ordering::AcqRel);
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(output);
            }
            let rests = inner.state.compare_exchange(POLLED, 0, Ordering::AcqRel, Ordering::Acquire);
            if rests.is_ok() {
                return Poll::Pending;
            }
        }
        inner.state.swap(0, Ordering::AcqRel);
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use tokio::sync::{mpsc, oneshot};

    use super::*;

    /// Counts wakes of a task.
    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Yields so often.
    async fn yields(times: u32) -> u32 {
        let mut left = times;
        poll_fn(|cx| match left {
            0 => Poll::Ready(()),
            _ => {
                left -= 1;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
        times
    }

    #[test]
    fn a_future_that_wakes_itself_is_polled_again_without_its_task() {
        // Yields, and how often its task is woken until it is done.
        for (times, wakes) in [(0, 0), (1, 0), (TURNS - 1, 0), (TURNS, 1), (3 * TURNS, 3)] {
            let count = Arc::<Count>::default();
            let waker = Waker::from(count.clone());
            let mut future = pin!(settled(yields(times)));
            let mut polls = 0;
            while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                polls += 1;
                assert_eq!(count.0.load(Ordering::Relaxed), polls, "{times}: it is woken each time it stops");
            }
            assert_eq!(polls, wakes, "{times}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_wake_of_another_thread_is_lost() {
        let (sender, mut receiver) = mpsc::channel(1);
        let (done, ended) = oneshot::channel();
        tokio::spawn(settled(async move {
            let mut sum = 0_u64;
            while let Some(number) = receiver.recv().await {
                sum += number;
            }
            let _ = done.send(sum);
        }));
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let sender = sender.clone();
            senders.spawn(settled(async move {
                for number in 0..20_000_u64 {
                    sender.send(number).await.unwrap();
                }
            }));
        }
        drop(sender);
        let sum = tokio::time::timeout(Duration::from_secs(60), ended).await.expect("nothing hangs").unwrap();
        assert_eq!(sum, 4 * (0..20_000).sum::<u64>());
        while let Some(sent) = senders.join_next().await {
            sent.unwrap();
        }
    }
}
