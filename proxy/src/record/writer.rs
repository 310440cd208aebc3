//! The writer thread: appends what waits in one write, makes it durable, rests.

use std::fs::File;
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
}

impl Writer {
    pub fn new(shared: Arc<Shared>, queue: Arc<Queue>, file: File) -> Self {
        Self { shared, queue, file }
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
            let count = batch.count;
            usual = batch.text.len();
            if count > 0
                && let Err(error) = self.append(batch)
            {
                tracing::warn!(%error, lost = count, "the spool can't be written");
                self.shared.lose(count);
                self.undo();
            }
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
        if self.active().bytes >= self.shared.options.segment_bytes {
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

    fn roll(&mut self) -> io::Result<()> {
        let active = self.active();
        // An empty segment owns the next number already: a new one of that number would be the same file. Skip one.
        let first = if active.count == 0 { active.first + 1 } else { active.next() };
        self.file = segment::create(&self.shared.dir, first)?;
        self.shared.segments().push_back(Segment { first, count: 0, bytes: 0, recovered: false });
        Ok(())
    }

    fn active(&self) -> Segment {
        let nothing = Segment { first: 1, count: 0, bytes: 0, recovered: false };
        self.shared.segments().back().copied().unwrap_or(nothing)
    }
}
