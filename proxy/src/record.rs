//! Where decisions are recorded.

use openshell_api::decision::DecisionRecord;

/// Takes decision records. Never blocks and never fails the request: what can't be kept is counted.
pub trait Record: Send + Sync {
    /// Keeps one record for delivery to the gateway.
    fn record(&self, record: DecisionRecord);
}
