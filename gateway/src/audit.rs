//! What the audit trail is told: each change together with the change itself, each refusal, and what the gateway noticed.
//!
//! The trail lives in the database (`store/audit`), written in the transaction of what it tells of. Its newest link is signed
//! and kept beside it, so that a trail whose end was cut off does not pass for a whole one.

use std::sync::Arc;

use openshell_api::audit::{AuditEntry, Outcome};
use serde::Serialize;
use serde_json::Value;

use crate::identity::Caller;

/// A change, a refusal or something noticed, before it has its place in the trail.
#[derive(Debug, Clone)]
pub struct Change {
    /// Absent: the gateway itself, or nobody it knows.
    caller: Option<Arc<Caller>>,
    /// Where there is no caller: from where.
    source: Option<String>,
    action: String,
    object: String,
    outcome: Outcome,
    detail: Value,
    before: Value,
    after: Value,
}

impl Change {
    /// Something that somebody did.
    pub fn new(caller: Option<Arc<Caller>>, action: impl Into<String>, object: String) -> Self {
        Self {
            caller,
            source: None,
            action: action.into(),
            object,
            outcome: Outcome::Done,
            detail: Value::Null,
            before: Value::Null,
            after: Value::Null,
        }
    }

    /// What was there before. No secret may be in it.
    #[must_use]
    pub fn before(self, before: impl Serialize) -> Self {
        Self { before: value(before), ..self }
    }

    /// What is there now. No secret may be in it.
    #[must_use]
    pub fn after(self, after: impl Serialize) -> Self {
        Self { after: value(after), ..self }
    }

    /// What else there is to say. No secret may be in it.
    #[must_use]
    pub fn detail(self, detail: impl Serialize) -> Self {
        Self { detail: value(detail), ..self }
    }

    /// It was not done.
    #[must_use]
    pub fn refused(self, source: Option<String>) -> Self {
        Self { outcome: Outcome::Refused, source, ..self }
    }

    /// Nobody did it; the gateway noticed it.
    #[must_use]
    pub fn noticed(self) -> Self {
        Self { outcome: Outcome::Noticed, ..self }
    }

    /// The entry in its place.
    pub(crate) fn entry(&self, seq: u64, at: jiff::Timestamp) -> AuditEntry {
        let caller = self.caller.as_ref();
        AuditEntry {
            seq,
            at,
            user: caller.map(|caller| caller.user.clone()),
            role: caller.map(|caller| caller.role),
            via: caller.map(|caller| caller.via),
            token: caller.and_then(|caller| caller.token.clone()),
            source: caller.map(|caller| caller.source.to_string()).or_else(|| self.source.clone()),
            action: self.action.clone(),
            object: self.object.clone(),
            outcome: self.outcome,
            detail: self.detail.clone(),
            before: self.before.clone(),
            after: self.after.clone(),
        }
    }
}

fn value(of: impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_else(|error| Value::String(format!("can't be shown: {error}")))
}
