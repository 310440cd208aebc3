//! The handle: what producers push into and what the link reads from.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::queue::{Producer, Queue, Refused};
use super::reader::{Fresh, Reader};
use super::segment::{self, Segment};
use super::writer::Writer;

/// Bounds of a [`Spool`].
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// Most it may take on disk, in bytes; the oldest segment is dropped when it is more.
    pub max_bytes: u64,
    /// A segment is closed once it is this long, in bytes.
    pub segment_bytes: u64,
    /// What may wait in memory for the writer, in bytes of JSON.
    pub queue_bytes: usize,
    /// Rest of the writer between two batches: trades delay for fewer, larger writes.
    pub pause: Duration,
}

impl Default for SpoolOptions {
    fn default() -> Self {
        Self {
            max_bytes: 256 * 1024 * 1024,
            segment_bytes: 8 * 1024 * 1024,
            queue_bytes: 8 * 1024 * 1024,
            pause: Duration::from_millis(100),
        }
    }
}

/// Why a spool could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("the spool in {} can't be used: {source}", dir.display())]
pub struct SpoolError {
    /// Its directory.
    pub dir: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Counts of a [`Spool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolStats {
    /// Last sequence number on disk; 0: nothing yet.
    pub written: u64,
    /// Last sequence number the gateway has stored.
    pub stored: u64,
    /// Items dropped because the queue or the disk was full, or because they no longer parse.
    pub lost: u64,
}

impl SpoolStats {
    /// Whether the gateway has stored all that is on disk.
    pub fn is_delivered(&self) -> bool {
        self.stored >= self.written
    }
}

pub(super) struct Shared {
    pub dir: PathBuf,
    pub options: SpoolOptions,
    /// Never empty; the last one is being written.
    pub segments: Mutex<VecDeque<Segment>>,
    pub written: watch::Sender<u64>,
    pub stored: watch::Sender<u64>,
    pub lost: AtomicU64,
    fresh: Mutex<Fresh>,
    position: File,
}

impl Shared {
    pub fn segments(&self) -> MutexGuard<'_, VecDeque<Segment>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn fresh(&self) -> MutexGuard<'_, Fresh> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn lose(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
    }

    /// Removes the oldest segment, never the one being written. Counts what was in it and not yet stored.
    pub fn drop_oldest(&self, segments: &mut VecDeque<Segment>) -> bool {
        if segments.len() < 2 {
            return false;
        }
        let Some(oldest) = segments.pop_front() else { return false };
        let unstored = oldest.next().saturating_sub(oldest.first.max(*self.stored.borrow() + 1));
        self.lose(unstored);
        if let Err(error) = fs::remove_file(oldest.path(&self.dir)) {
            tracing::warn!(segment = oldest.first, %error, "a spool segment can't be removed");
        }
        true
    }
}

/// A bounded queue on disk. Cheap to clone; items are numbered from 1 in the order they were pushed. What is lost has its numbers too, so that
/// whoever gets the others sees where something is missing, and how much.
pub struct Spool<T> {
    shared: Arc<Shared>,
    producer: Arc<Producer>,
    items: PhantomData<fn(T) -> T>,
}

impl<T> Clone for Spool<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), producer: self.producer.clone(), items: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Spool<T> {
    /// Opens the spool in `dir`, made if absent, and starts its writer thread, which ends with the last handle.
    /// Whatever an earlier run left is delivered first; a line it did not finish is cut off.
    pub fn open(dir: &Path, options: SpoolOptions) -> Result<Self, SpoolError> {
        Self::try_open(dir, options).map_err(|source| SpoolError { dir: dir.to_owned(), source })
    }

    fn try_open(dir: &Path, options: SpoolOptions) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mut segments: VecDeque<Segment> = segment::recover(dir)?.into();
        let position =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(dir.join("stored"))?;
        let stored = read_position(&position)?;
        let next = segments.back().map_or(1, Segment::next).max(stored + 1);
        for empty in segments.iter().filter(|segment| segment.count == 0 && segment.first != next) {
            fs::remove_file(empty.path(dir))?;
        }
        segments.retain(|segment| segment.count > 0);
        segments.push_back(Segment { first: next, count: 0, bytes: 0, recovered: false });
        let file = segment::create(dir, next)?;
        let queue = Arc::new(Queue::new(options.queue_bytes));
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            options,
            segments: Mutex::new(segments),
            written: watch::Sender::new(next - 1),
            stored: watch::Sender::new(stored),
            lost: AtomicU64::new(0),
            fresh: Mutex::default(),
            position,
        });
        let writer = Writer::new(shared.clone(), queue.clone(), file);
        std::thread::Builder::new().name("spool".to_owned()).spawn(move || writer.run())?;
        Ok(Self { shared, producer: Arc::new(Producer(queue)), items: PhantomData })
    }

    /// Keeps one item. Never blocks on the disk: when the queue is full the item is dropped and counted.
    pub fn push(&self, item: &T) {
        self.settle(self.producer.0.push(item));
    }

    /// Keeps one item, waiting while the queue is full.
    pub async fn push_patiently(&self, item: &T) {
        self.settle(self.producer.0.push_patiently(item).await);
    }

    fn settle(&self, taken: Result<(), Refused>) {
        if let Err(refused) = taken {
            self.shared.lose(1);
            match refused {
                Refused::Full => self.producer.0.skip(),
                Refused::Unwritable(error) => tracing::warn!(%error, "an item can't be spooled"),
            }
        }
    }

    /// Waits until everything pushed before is on disk.
    pub async fn flush(&self) {
        // An error means that the writer is gone: nothing is left to wait for.
        let _ = self.producer.0.flush().await;
    }

    /// Waits until the gateway has stored everything that is on disk.
    pub async fn delivered(&self) {
        let mut stored = self.shared.stored.subscribe();
        // An error can't come: this handle keeps the other side.
        let _ = stored.wait_for(|stored| *stored >= *self.shared.written.borrow()).await;
    }

    /// Reads what is not stored yet, from the oldest.
    pub fn reader(&self) -> Reader<T> {
        Reader::new(self.shared.clone())
    }

    /// The gateway has stored everything up to `through`; it is forgotten here. Ignores numbers never handed out.
    pub fn stored(&self, through: u64) {
        let mut segments = self.shared.segments();
        let through = through.min(*self.shared.written.borrow());
        let advanced = self.shared.stored.send_if_modified(|stored| {
            let advances = through > *stored;
            *stored = through.max(*stored);
            advances
        });
        if !advanced {
            return;
        }
        while segments.len() > 1 && segments.front().is_some_and(|oldest| oldest.next() <= through + 1) {
            self.shared.drop_oldest(&mut segments);
        }
        // Losing this number only means that some items are delivered twice.
        if let Err(error) = self.shared.position.write_all_at(format!("{through:020}\n").as_bytes(), 0) {
            tracing::warn!(%error, "the spool's position can't be written");
        }
    }

    /// Its counts.
    pub fn stats(&self) -> SpoolStats {
        SpoolStats {
            written: *self.shared.written.borrow(),
            stored: *self.shared.stored.borrow(),
            lost: self.shared.lost.load(Ordering::Relaxed),
        }
    }
}

fn read_position(file: &File) -> io::Result<u64> {
    let mut text = [0; 20];
    match file.read_exact_at(&mut text, 0) {
        Ok(()) => Ok(std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or(0)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
        Err(error) => Err(error),
    }
}
