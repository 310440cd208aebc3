//! What policies would have changed that are asked and not obeyed.

use serde::{Deserialize, Serialize};

use crate::Name;
use crate::decision::Verdict;

/// One shadow of a sandbox and what it has answered since it was bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ShadowReport {
    /// Its name in the chain, should it be promoted.
    pub binding: Name,
    /// `name@version`.
    pub policy: String,
    /// `sha256:<hex>` of its component.
    pub digest: String,
    /// RFC 3339, UTC: when it was bound, with these settings.
    #[schema(value_type = String)]
    pub since: jiff::Timestamp,
    /// Decisions it was asked about.
    pub asked: u64,
    /// Decisions that would have been the other way.
    pub flips: u64,
    /// Questions it gave no answer to: traps, deadlines …
    pub failures: u64,
    /// Time that half of its answers took at most, in nanoseconds.
    pub p50_ns: u64,
    /// Time that 99 in 100 of its answers took at most, in nanoseconds.
    pub p99_ns: u64,
    /// The flips, by rule and destination, most frequent first; at most 100.
    pub groups: Vec<FlipGroup>,
    /// Kinds of failures, each with how often.
    pub reasons: std::collections::BTreeMap<String, u64>,
}

/// Decisions of one destination that one rule would have changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FlipGroup {
    /// What was decided.
    pub from: Verdict,
    /// What would have been.
    pub to: Verdict,
    /// The rule that would have decided; empty: none, for nobody would have allowed it.
    pub rule: String,
    /// `host:port`.
    pub destination: String,
    /// HTTP method; absent: connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// How many.
    pub count: u64,
    /// Id of the newest such decision.
    pub example: String,
    /// Its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why it would have been denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `POST /v1/sandboxes/{name}/promote`: obey a shadow from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Promote {
    /// Which; absent: the only one.
    #[serde(default)]
    pub binding: Option<Name>,
    /// Refuse if it would have changed more decisions than so many.
    #[serde(default)]
    pub max_flips: u64,
    /// Refuse if it was asked about fewer decisions than so many.
    #[serde(default = "one")]
    pub min_decisions: u64,
    /// Throw it away instead.
    #[serde(default)]
    pub discard: bool,
}

fn one() -> u64 {
    1
}
