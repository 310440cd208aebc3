//! The writer thread: appends what waits in one write, makes it durable, rests.

use std::fs::{self, File};
use std::io::{self, Write};
use std::sync::Arc;

use super::queue::{Lines, Queue};
use super::segment::{self, Segment};
use super::spool::Shared;

/// Most memory that is kept for a reader, in bytes: of twenty thousand records a second it holds what comes between two rests.
const KEPT: usize = 2 * 1024 * 1024;

/// Memory for so many times what came last is too much: it goes back.
const IDLE: usize = 16;

pub(super) struct Writer {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    file: File,
    /// How many items were lost after the last one that was written.
    skipped: u64,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, queue: Arc<Queue>, file: File) -> Self {
        Self { shared, queue, file, skipped: 0 }
    }

    /// Runs until every producer is gone.
    pub fn run(mut self) {
        let mut usual = 0;
        loop {
            let mut spare = self.shared.fresh().spare();
            if spare.capacity() > IDLE * usual {
                spare = Vec::new();
            }
            let Some((batch, flushes)) = self.queue.next(spare) else { return };
            let (count, lost_after) = (batch.count, batch.lost_after);
            self.skipped += batch.lost_before;
            usual = batch.text.len();
            if count > 0
                && let Err(error) = self.append(batch)
            {
                tracing::warn!(%error, lost = count, "the spool can't be written");
                self.shared.lose(count);
                self.skipped += count;
                self.undo();
            }
            self.skipped += lost_after;
            let urgent = !flushes.is_empty();
            for flush in flushes {
                // Whoever asked may have gone.
                let _ = flush.send(());
            }
            if !urgent {
                self.queue.rest(self.shared.options.pause);
            }
        }
    }

    fn append(&mut self, batch: Lines) -> io::Result<()> {
        if self.skipped > 0 || self.active().bytes >= self.shared.options.segment_bytes {
            self.roll()?;
        }
        self.file.write_all(&batch.text)?;
        self.file.sync_data()?;
        let mut segments = self.shared.segments();
        let mut written = 0;
        if let Some(active) = segments.back_mut() {
            active.count += batch.count;
            active.bytes += batch.text.len() as u64;
            written = active.next() - 1;
        }
        while segments.iter().map(|segment| segment.bytes).sum::<u64>() > self.shared.options.max_bytes
            && self.shared.drop_oldest(&mut segments)
        {}
        drop(segments);
        let first = written + 1 - batch.count;
        let kept = batch.text.capacity() <= KEPT;
        self.shared.fresh().put(first, if kept { batch.text } else { Vec::new() });
        self.shared.written.send_replace(written);
        Ok(())
    }

    /// Cuts off whatever a failed write left behind, so that line numbers stay true.
    fn undo(&mut self) {
        if let Err(error) = self.file.set_len(self.active().bytes) {
            tracing::warn!(%error, "a failed write to the spool can't be undone; starting a new segment");
            if let Err(error) = self.roll() {
                tracing::error!(%error, "no new spool segment can be started");
            }
        }
    }

    /// Begins a segment, after the numbers of what was lost.
    fn roll(&mut self) -> io::Result<()> {
        let active = self.active();
        // An empty segment owns the next number already: a new one of that number would be the same file.
        let first = active.next() + self.skipped.max(u64::from(active.count == 0));
        self.file = segment::create(&self.shared.dir, first)?;
        self.skipped = 0;
        let mut segments = self.shared.segments();
        if active.count == 0 && segments.pop_back().is_some() {
            // On a full disk there would be another one with every attempt.
            let _ = fs::remove_file(active.path(&self.shared.dir));
        }
        segments.push_back(Segment { first, count: 0, bytes: 0, recovered: false });
        Ok(())
    }

    fn active(&self) -> Segment {
        let nothing = Segment { first: 1, count: 0, bytes: 0, recovered: false };
        self.shared.segments().back().copied().unwrap_or(nothing)
    }
}
