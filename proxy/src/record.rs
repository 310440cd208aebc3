//! Where decisions are recorded, and how they and log lines wait on disk until the gateway has stored them.
//!
//! A [`Spool`] numbers what it is given, appends it as JSON lines to segment files, and hands it out in batches until
//! the gateway says it is stored: at least once, across restarts of both. Its size is bounded: the oldest is dropped
//! and counted when it is full. Nothing here blocks or fails a request.

mod queue;
mod reader;
mod segment;
mod spool;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{Batch, Reader};
pub use spool::{Spool, SpoolError, SpoolOptions, SpoolStats};

use openshell_api::decision::DecisionRecord;

/// Takes decision records. Never blocks and never fails the request: what can't be kept is counted.
pub trait Record: Send + Sync {
    /// Keeps one record for delivery to the gateway.
    fn record(&self, record: &DecisionRecord);
}

impl Record for Spool<DecisionRecord> {
    fn record(&self, record: &DecisionRecord) {
        self.push(record);
    }
}
