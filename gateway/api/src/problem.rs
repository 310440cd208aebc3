//! Errors of the API: `application/problem+json` (RFC 9457) with a stable `code` and a `hint`.

use serde::{Deserialize, Serialize};

/// One refused or failed call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// HTTP status code.
    pub status: u16,
    /// Stable, machine-readable: `sandbox_not_found`, `forbidden_import`, `settings_refused` …
    pub code: String,
    /// One sentence: what was refused and why.
    pub detail: String,
    /// What the caller could do instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Seconds after which it is worth trying again, as in `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// What is there now has this entity tag, as in `ETag`: a change was made for another one (412).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(status: u16, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), hint: None, retry_after_s: None, etag: None }
    }

    /// Whether a proxy stopped waiting for the gateway, which may be about it still (504, and no answer of the gateway's).
    pub fn is_impatience(&self) -> bool {
        self.status == 504 && self.code == "foreign_answer"
    }

    /// The same problem with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
