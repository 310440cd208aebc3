//! The writer thread: serializes what waits, appends it in one write, makes it durable, rests.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::segment::{self, Segment};
use super::spool::Shared;

/// Longest batch, in bytes.
const BATCH_BYTES: usize = 1024 * 1024;

pub(super) enum Command<T> {
    Item(T),
    Flush(oneshot::Sender<()>),
}

pub(super) struct Writer<T> {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Command<T>>,
    file: File,
    lines: Vec<u8>,
    count: u64,
    flushed: Vec<oneshot::Sender<()>>,
}

impl<T: Serialize> Writer<T> {
    pub fn new(shared: Arc<Shared>, queue: mpsc::Receiver<Command<T>>, file: File) -> Self {
        Self { shared, queue, file, lines: Vec::new(), count: 0, flushed: Vec::new() }
    }

    /// Runs until every handle is gone. Sleeping between batches keeps producers from waking this thread one by one,
    /// which would cost more than the writing.
    pub fn run(mut self) {
        while let Some(command) = self.queue.blocking_recv() {
            self.take(command);
            while self.lines.len() < BATCH_BYTES {
                let Ok(command) = self.queue.try_recv() else { break };
                self.take(command);
            }
            self.write();
            let urgent = !self.flushed.is_empty();
            for done in self.flushed.drain(..) {
                let _ = done.send(());
            }
            if !urgent {
                std::thread::sleep(self.shared.options.pause);
            }
        }
    }

    fn take(&mut self, command: Command<T>) {
        match command {
            Command::Flush(done) => self.flushed.push(done),
            Command::Item(item) => {
                let before = self.lines.len();
                match serde_json::to_writer(&mut self.lines, &item) {
                    Ok(()) => {
                        self.lines.push(b'\n');
                        self.count += 1;
                    }
                    Err(error) => {
                        self.lines.truncate(before);
                        self.shared.lose(1);
                        tracing::warn!(%error, "an item can't be spooled");
                    }
                }
            }
        }
    }

    fn write(&mut self) {
        if self.count > 0 {
            if let Err(error) = self.append() {
                tracing::warn!(%error, lost = self.count, "the spool can't be written");
                self.shared.lose(self.count);
                self.undo();
            }
            self.lines.clear();
            self.count = 0;
        }
    }

    fn append(&mut self) -> io::Result<()> {
        if self.active().bytes >= self.shared.options.segment_bytes {
            self.roll()?;
        }
        self.file.write_all(&self.lines)?;
        self.file.sync_data()?;
        let mut segments = self.shared.segments();
        let mut written = 0;
        if let Some(active) = segments.back_mut() {
            active.count += self.count;
            active.bytes += self.lines.len() as u64;
            written = active.next() - 1;
        }
        while segments.iter().map(|segment| segment.bytes).sum::<u64>() > self.shared.options.max_bytes
            && self.shared.drop_oldest(&mut segments)
        {}
        drop(segments);
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
