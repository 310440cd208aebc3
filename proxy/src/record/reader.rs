//! Reading a spool in batches, from the oldest item the gateway has not stored.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::segment::Segment;
use super::spool::Shared;

/// Longest batch, in bytes, unless a single item is longer.
const BATCH_BYTES: u64 = 128 * 1024;

/// Consecutive items, ready to be put between the brackets of a JSON array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Sequence number of the first one.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// JSON documents, separated by commas.
    pub json: String,
}

struct Open {
    segment: u64,
    file: File,
    offset: u64,
}

/// A position in a spool. Several may read the same one; each begins with what is not stored yet.
pub struct Reader<T> {
    shared: Arc<Shared>,
    next: u64,
    open: Option<Open>,
    items: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Reader<T> {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let next = *shared.stored.borrow() + 1;
        Self { shared, next, open: None, items: PhantomData }
    }

    /// Number of the last item that was read, is stored or is lost.
    pub fn position(&self) -> u64 {
        self.next - 1
    }

    /// Waits until there is something to read. Never returns once the spool is gone.
    pub async fn wait(&mut self) {
        let next = self.next;
        let mut written = self.shared.written.subscribe();
        if written.wait_for(|written| *written >= next).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until no more than `window` items that were read are not stored.
    pub async fn wait_for_room(&self, window: u64) {
        let next = self.next;
        let mut stored = self.shared.stored.subscribe();
        if stored.wait_for(|stored| next.saturating_sub(*stored + 1) <= window).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The next items: those written last from memory, others from the disk, where that holds nobody up. Gives the reader back.
    /// `None` and errors as of [`Self::read`].
    pub async fn next(mut self) -> Result<(Self, io::Result<Option<Batch>>), tokio::task::JoinError>
    where
        T: 'static,
    {
        if let Some(batch) = self.fresh() {
            return Ok((self, Ok(Some(batch))));
        }
        tokio::task::spawn_blocking(move || {
            let batch = self.read();
            (self, batch)
        })
        .await
    }

    /// The next items, if they are those that were written last. Never blocks on the disk.
    pub(super) fn fresh(&mut self) -> Option<Batch> {
        let batch = self.shared.fresh().next(self.next)?;
        self.next += batch.count;
        // Its offset is not the next item's any more.
        self.open = None;
        Some(batch)
    }

    /// The next items; `None`: nothing more is on disk yet. Blocks on the disk. Skips, and counts, what an earlier run
    /// left that no longer parses.
    pub fn read(&mut self) -> io::Result<Option<Batch>> {
        if let Some(batch) = self.fresh() {
            return Ok(Some(batch));
        }
        loop {
            let Some(segment) = self.segment() else { return Ok(None) };
            self.seek(&segment)?;
            if let Some(batch) = self.batch(&segment)? {
                return Ok(Some(batch));
            }
        }
    }

    /// The segment that holds the next item, or the first one after it where that was dropped.
    fn segment(&mut self) -> Option<Segment> {
        let segments = self.shared.segments();
        let segment = segments.iter().find(|segment| segment.next() > self.next && segment.count > 0)?;
        self.next = self.next.max(segment.first);
        Some(*segment)
    }

    fn seek(&mut self, segment: &Segment) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|open| open.segment == segment.first) {
            return Ok(());
        }
        let file = File::open(segment.path(&self.shared.dir))?;
        let mut open = Open { segment: segment.first, file, offset: 0 };
        let mut skip = self.next - segment.first;
        while skip > 0 {
            let chunk = open.lines(segment)?;
            for line in chunk.split_inclusive(|byte| *byte == b'\n') {
                if skip == 0 {
                    break;
                }
                open.offset += line.len() as u64;
                skip -= 1;
            }
        }
        self.open = Some(open);
        Ok(())
    }

    fn batch(&mut self, segment: &Segment) -> io::Result<Option<Batch>> {
        let Some(open) = self.open.as_mut() else { return Ok(None) };
        let chunk = open.lines(segment)?;
        let length = chunk.len() as u64;
        // What this run wrote is lines of JSON, unless the disk is broken.
        let chunk = match segment.recovered {
            true => chunk,
            false => match joined(chunk) {
                Some((count, json)) => {
                    let batch = Batch { first: self.next, count, json };
                    self.next += count;
                    open.offset += length;
                    return Ok(Some(batch));
                }
                None => open.lines(segment)?,
            },
        };
        let mut batch = Batch { first: self.next, count: 0, json: String::with_capacity(chunk.len()) };
        for line in chunk.split_inclusive(|byte| *byte == b'\n') {
            let text = std::str::from_utf8(line).ok().map(str::trim_end);
            match text.filter(|text| serde_json::from_str::<T>(text).is_ok()) {
                Some(text) => {
                    if batch.count > 0 {
                        batch.json.push(',');
                    }
                    batch.json.push_str(text);
                    batch.count += 1;
                }
                None if batch.count > 0 => break,
                None => {
                    self.shared.lose(1);
                    batch.first += 1;
                }
            }
            self.next += 1;
            open.offset += line.len() as u64;
        }
        Ok((batch.count > 0).then_some(batch))
    }
}

impl Open {
    /// Whole lines from the offset on.
    fn lines(&self, segment: &Segment) -> io::Result<Vec<u8>> {
        let left = segment.bytes.saturating_sub(self.offset);
        let mut length = BATCH_BYTES.min(left);
        loop {
            let mut chunk = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            self.file.read_exact_at(&mut chunk, self.offset)?;
            match chunk.iter().rposition(|byte| *byte == b'\n') {
                Some(end) => {
                    chunk.truncate(end + 1);
                    return Ok(chunk);
                }
                None if length < left => length = (length * 2).min(left),
                None => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a spool segment ends without a line end"));
                }
            }
        }
    }
}

/// What was written last and is still in memory: for whoever keeps up, and so need not read it back.
#[derive(Default)]
pub(super) struct Fresh {
    /// Sequence number of the first item that is left.
    first: u64,
    lines: Vec<u8>,
    at: usize,
    /// All of it was read: whoever writes next has the memory.
    spare: Vec<u8>,
}

impl Fresh {
    /// These lines are on disk by now. Those before are left to who reads from there.
    pub fn put(&mut self, first: u64, lines: Vec<u8>) {
        *self = Self { first, lines, at: 0, spare: Vec::new() };
    }

    /// Memory for the next lines.
    pub fn spare(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    /// The items from `next` on, if they are the first that are left.
    fn next(&mut self, next: u64) -> Option<Batch> {
        let left = &self.lines[self.at..];
        if left.is_empty() || next != self.first {
            return None;
        }
        let most = usize::try_from(BATCH_BYTES).map_or(left.len(), |most| most.min(left.len()));
        let end = memchr::memrchr(b'\n', &left[..most]).or_else(|| memchr::memchr(b'\n', left))? + 1;
        let (count, json) = joined(left[..end].to_vec())?;
        self.first += count;
        self.at += end;
        if self.at == self.lines.len() {
            self.spare = std::mem::take(&mut self.lines);
            self.at = 0;
        }
        Some(Batch { first: next, count, json })
    }
}

/// Whole lines with commas between them, and how many; `None`: they are not text.
fn joined(mut lines: Vec<u8>) -> Option<(u64, String)> {
    lines.pop();
    let (mut count, mut at) = (1, 0);
    while let Some(end) = memchr::memchr(b'\n', &lines[at..]) {
        lines[at + end] = b',';
        at += end + 1;
        count += 1;
    }
    Some((count, String::from_utf8(lines).ok()?))
}
