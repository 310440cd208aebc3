//! What waits in memory for the writer: lines already, so that an item is freed by the thread that made it.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Notify, oneshot};

thread_local! {
    /// Where an item becomes a line.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A line longer than this gives its memory back.
const USUAL_LINE: usize = 64 * 1024;

/// Lines on their way to the writer.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Wakes the writer.
    filled: Condvar,
    /// Wakes producers that wait for room.
    emptied: Notify,
    /// Most bytes that may wait.
    capacity: usize,
}

#[derive(Default)]
struct Waiting {
    lines: Lines,
    flushes: Vec<oneshot::Sender<()>>,
    closed: bool,
    /// The writer has nothing to do and sleeps until it is woken.
    idle: bool,
}

/// Consecutive lines.
#[derive(Default)]
pub(super) struct Lines {
    pub text: Vec<u8>,
    pub count: u64,
    /// How many were refused, and so are lost, before the first of them was taken.
    pub lost_before: u64,
    /// The same since.
    pub lost_after: u64,
}

/// Why an item was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("too much waits")]
    Full,
    #[error("it can't be written as JSON: {0}")]
    Unwritable(#[from] serde_json::Error),
}

impl Queue {
    pub fn new(capacity: usize) -> Self {
        Self { waiting: Mutex::default(), filled: Condvar::new(), emptied: Notify::new(), capacity }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one item. A single one may be longer than all that may wait.
    pub fn push<T: Serialize>(&self, item: &T) -> Result<(), Refused> {
        LINE.with_borrow_mut(|line| {
            line.clear();
            serde_json::to_writer(&mut *line, item)?;
            line.push(b'\n');
            let mut waiting = self.lock();
            let full = waiting.lines.text.len() + line.len() > self.capacity;
            if full && waiting.lines.count > 0 {
                return Err(Refused::Full);
            }
            waiting.lines.text.extend_from_slice(line);
            waiting.lines.count += 1;
            // One that rests between two batches is not woken: that would cost more than the writing.
            if std::mem::take(&mut waiting.idle) {
                self.filled.notify_one();
            }
            drop(waiting);
            if line.len() > USUAL_LINE {
                *line = Vec::new();
            }
            Ok(())
        })
    }

    /// One that was refused is lost.
    pub fn skip(&self) {
        let mut waiting = self.lock();
        match waiting.lines.count {
            0 => waiting.lines.lost_before += 1,
            _ => waiting.lines.lost_after += 1,
        }
    }

    /// Takes one item, once there is room.
    pub async fn push_patiently<T: Serialize>(&self, item: &T) -> Result<(), Refused> {
        loop {
            let emptied = self.emptied.notified();
            match self.push(item) {
                Err(Refused::Full) => emptied.await,
                taken => return taken,
            }
        }
    }

    /// Told when everything pushed before is on disk, or was counted as lost.
    pub fn flush(&self) -> oneshot::Receiver<()> {
        let (done, told) = oneshot::channel();
        self.lock().flushes.push(done);
        self.filled.notify_one();
        told
    }

    fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// For the writer: the next lines, and who waits for them; `None`: nothing will come any more. What
    /// comes meanwhile is put into `spare`.
    pub fn next(&self, mut spare: Vec<u8>) -> Option<(Lines, Vec<oneshot::Sender<()>>)> {
        let mut waiting = self.lock();
        while waiting.lines.count == 0 && waiting.flushes.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting.idle = true;
            waiting = self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.idle = false;
        spare.clear();
        let lines = std::mem::replace(&mut waiting.lines, Lines { text: spare, ..Lines::default() });
        let flushes = std::mem::take(&mut waiting.flushes);
        drop(waiting);
        self.emptied.notify_waiters();
        Some((lines, flushes))
    }

    /// For the writer: rests, unless somebody waits for the disk.
    pub fn rest(&self, pause: Duration) {
        let waiting = self.lock();
        let calm = |waiting: &mut Waiting| waiting.flushes.is_empty() && !waiting.closed;
        drop(self.filled.wait_timeout_while(waiting, pause, calm));
    }
}

/// Closes the queue when the last producer is gone.
pub(super) struct Producer(pub Arc<Queue>);

impl Drop for Producer {
    fn drop(&mut self) {
        self.0.close();
    }
}
