//! Rollouts: a policy on a few sandboxes first, and on the rest when it has proven itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Name;
use crate::module::Binding;

/// A policy on its way from a few sandboxes to all that a selector names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Rollout {
    /// ULID; sorts by time.
    pub id: String,
    /// Labels that its sandboxes have; empty: every sandbox.
    pub selector: BTreeMap<String, String>,
    /// Share of them that has it already, in hundredths.
    pub percent: u8,
    /// Answers without a verdict that are borne before it is taken back.
    pub max_failures: u64,
    /// What is bound.
    pub binding: Binding,
    /// It takes the place of every binding of a sandbox's own chain.
    #[serde(default)]
    pub replace_all: bool,
    /// The sandboxes that have it.
    pub canaries: Vec<Canary>,
    /// Where it stands.
    pub state: RolloutState,
    /// RFC 3339, UTC.
    #[schema(value_type = String)]
    pub created_at: jiff::Timestamp,
    /// When it was promoted or taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ended_at: Option<jiff::Timestamp>,
    /// Why it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A sandbox that has a policy before the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Canary {
    /// Its id.
    pub sandbox_id: String,
    /// Its name.
    pub sandbox: Name,
    /// The first generation that has the policy.
    pub generation: u64,
}

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// The canaries have it, and are watched.
    Running,
    /// All have it.
    Promoted,
    /// It was taken back.
    RolledBack,
}

/// A rollout and what its canaries' records say of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RolloutReport {
    /// The rollout.
    pub rollout: Rollout,
    /// Decisions it had a say in.
    pub asked: u64,
    /// Of these, denied by it.
    pub denied: u64,
    /// Questions it gave no answer to: traps, deadlines …
    pub failures: u64,
    /// Kinds of failures, each with how often.
    pub reasons: BTreeMap<String, u64>,
    /// Sandboxes that match the selector now and do not have it.
    pub waiting: u64,
}

/// Body of `POST /v1/rollouts/{id}/promote`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromoteRollout {
    /// Refuse if it had a say in fewer decisions than so many.
    #[serde(default = "one")]
    pub min_decisions: u64,
}

fn one() -> u64 {
    1
}
