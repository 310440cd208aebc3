//! What this sandbox was refused lately, in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use openshell_api::decision::{DecisionRecord, Stage, Verdict};
use serde::Serialize;

use crate::record::Record;

/// Refusals that are told apart; the oldest is forgotten.
const KEPT: usize = 200;

/// Something that was refused, once or again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Denial {
    /// Id of the newest decision.
    pub decision: String,
    pub at: jiff::Timestamp,
    /// How often.
    pub times: u64,
    pub layer: Stage,
    pub program: String,
    pub host: String,
    pub port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub error: Option<String>,
    pub policy: Option<String>,
    pub rule: Option<String>,
    pub reason: Option<String>,
    pub hint: Option<String>,
}

impl Denial {
    fn of(record: &DecisionRecord) -> Self {
        Self {
            decision: record.id.clone(),
            at: record.at,
            times: 1,
            layer: record.stage,
            program: record.process.executable.clone(),
            host: record.host.clone(),
            port: record.port,
            method: record.method.clone(),
            path: record.path.clone(),
            error: record.error.clone(),
            policy: record.policy.clone(),
            rule: record.rule.clone(),
            reason: record.reason.clone(),
            hint: record.hint.clone(),
        }
    }

    fn is_like(&self, record: &DecisionRecord) -> bool {
        (self.layer, self.port) == (record.stage, record.port)
            && self.host == record.host
            && self.path == record.path
            && self.method == record.method
            && self.rule == record.rule
            && self.error == record.error
            && self.program == record.process.executable
    }
}

/// The newest refusals of a sandbox, each kind once. Cheap to clone.
#[derive(Clone, Default)]
pub struct Denials(Arc<Mutex<VecDeque<Denial>>>);

impl Denials {
    fn add(&self, record: &DecisionRecord) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut denial = Denial::of(record);
        if let Some(known) = kept.iter().position(|known| known.is_like(record)) {
            denial.times += kept.remove(known).map_or(0, |known| known.times);
        }
        kept.push_front(denial);
        kept.truncate(KEPT);
    }

    /// The newest so many, newest first.
    pub(super) fn newest(&self, limit: usize) -> Vec<Denial> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().take(limit).cloned().collect()
    }
}

/// Passes records on, and remembers what was refused.
pub struct Remembering {
    /// Where records go.
    pub inner: Arc<dyn Record>,
    /// What is remembered.
    pub denials: Denials,
}

impl Record for Remembering {
    fn record(&self, record: &DecisionRecord) {
        if record.verdict == Verdict::Deny {
            self.denials.add(record);
        }
        self.inner.record(record);
    }
}
