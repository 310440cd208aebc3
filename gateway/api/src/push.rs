//! Pushes: how new policy reaches sandboxes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Name;

/// Body of `POST /v1/pushes`: bind a stored module on sandboxes, all or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// Sandboxes to change; at least one, here or by `selector`.
    #[serde(default)]
    pub sandboxes: Vec<Name>,
    /// Labels: every sandbox that has all of them is changed as well. Empty labels name every sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<BTreeMap<String, String>>,
    /// Begin with a share of the selected sandboxes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryShare>,
    /// `sha256:<hex>` of a stored module.
    pub module: String,
    /// Name of the binding; absent: the module's name. A binding of that name is replaced, else one is added.
    #[serde(default)]
    pub binding: Option<Name>,
    /// Settings, judged by the module's schema and by its `configure`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub settings: Option<serde_json::Value>,
    /// Throw away all other bindings of the sandbox's chain.
    #[serde(default)]
    pub replace_all: bool,
    /// Bind it as a shadow: asked and not obeyed, until it is promoted.
    #[serde(default)]
    pub shadow: bool,
    /// Decisions an instance may serve; 0: a fresh one per decision.
    #[serde(default)]
    pub reuse: u32,
    /// Deadline of a decision, in milliseconds.
    #[serde(default)]
    pub deadline_ms: Option<u32>,
}

/// How a push begins that is not to reach all of its sandboxes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryShare {
    /// Share of the selected sandboxes, in hundredths: 1 to 99. At least one sandbox, and never all of them.
    pub percent: u8,
    /// Answers without a verdict that are borne before it is taken back.
    #[serde(default)]
    pub max_failures: u64,
}

/// Body of `POST /v1/sandboxes/{name}/rollback`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// Generation whose content comes back; absent: the newest one whose chain differs from the one enforced.
    #[serde(default)]
    pub to: Option<u64>,
}

/// Answer to a push or a rollback that went all the way: every sandbox acknowledged that it enforces it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PushReport {
    /// One per sandbox.
    pub enforcing: Vec<Enforcing>,
    /// What the new binding imports that the old one did not: the capability difference.
    pub newly_imports: Vec<String>,
    /// What the old binding imported that the new one does not.
    pub no_longer_imports: Vec<String>,
    /// Time spent per stage.
    pub timing: PushTiming,
    /// The rollout that began with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
}

/// One sandbox of a [`PushReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Enforcing {
    /// Sandbox.
    pub sandbox: Name,
    /// The generation it enforces now.
    pub generation: u64,
    /// Live connections that were cut because their verdict changed to deny.
    pub connections_cut: u32,
    /// The swap itself in the sandbox, in nanoseconds.
    #[serde(default)]
    pub swap_ns: u64,
}

/// Time spent per stage of a push, in microseconds, as the gateway saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PushTiming {
    /// Baking and compiling; 0 when the artifact was already there.
    pub compile_us: u64,
    /// Until every sandbox had staged it.
    pub stage_us: u64,
    /// From activation until every sandbox acknowledged.
    pub activate_us: u64,
    /// The whole push.
    pub total_us: u64,
}

/// Body of `PUT /v1/ceiling`: the gateway-wide chain, whole. When it is not empty, it *and* a sandbox's own chain must
/// each end in allow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetCeiling {
    /// Its bindings; none: no ceiling.
    pub bindings: Vec<CeilingBinding>,
}

/// One binding of a [`SetCeiling`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CeilingBinding {
    /// `sha256:<hex>` of a stored module.
    pub module: String,
    /// Name of the binding; absent: the module's name.
    #[serde(default)]
    pub binding: Option<Name>,
    /// Settings, judged by the module's schema and by its `configure`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub settings: Option<serde_json::Value>,
    /// Deadline of a decision, in milliseconds.
    #[serde(default)]
    pub deadline_ms: Option<u32>,
}

/// Answer of `GET /v1/sandboxes/{name}/policies`: what its newest generation binds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Policies {
    /// The newest generation.
    pub generation: u64,
    /// Whether the sandbox acknowledged that it enforces it.
    pub enforcing: bool,
    /// Gateway-wide chain.
    pub ceiling: Vec<crate::module::Binding>,
    /// The sandbox's own chain.
    pub chain: Vec<crate::module::Binding>,
    /// Asked and not obeyed.
    #[serde(default)]
    pub shadow: Vec<crate::module::Binding>,
    /// It records without blocking.
    #[serde(default)]
    pub observe: bool,
    /// The module behind the `route` hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<crate::module::Binding>,
}
