//! Runtimes: where a gateway's sandboxes can run, and how each of those places is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Name;
use crate::link::Sensitive;
use crate::sandbox::RuntimeKind;

/// Body of `POST /v1/runtimes`: a Docker engine of another machine, or a Docker Swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddRuntime {
    /// Unique on a gateway, and none of those that it brings along.
    pub name: Name,
    /// What it is: `docker`, or `swarm` for one whose manager the engine is.
    pub kind: RuntimeKind,
    /// `tcp://host:port`, which takes `tls`, or `ssh://user@host[:port]`, for the gateway's own `ssh`.
    pub url: String,
    /// `https://host:port` at which its containers reach the gateway; absent: what the gateway was told that others reach it at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_url: Option<String>,
    /// What sandboxes can be placed by.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Whom to trust at a `tcp` address, and how the gateway shows who it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<EngineTls>,
    /// Of a Swarm: `host[:port]/name` in a registry, from which its nodes take images with the supervisor in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// How the Swarm's engines log in there; absent: they need not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_login: Option<RegistryLogin>,
}

/// How the engines of a Swarm log in at a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistryLogin {
    /// As whom.
    pub user: String,
    /// With what. Kept encrypted, and never shown.
    #[schema(value_type = String)]
    pub password: Sensitive,
}

/// Body of `PUT /v1/runtimes/{name}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRuntime {
    /// What sandboxes can be placed by from now on; absent: what it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Where containers that are started from now on reach the gateway; absent: where they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_url: Option<String>,
    /// Whom to trust there, and how the gateway shows who it is; absent: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<EngineTls>,
    /// Of a Swarm: where images are put from now on; absent: where they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// How the Swarm's engines log in there from now on; absent: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_login: Option<RegistryLogin>,
}

/// How a gateway and an engine know each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineTls {
    /// PEM of the only authority whose certificates are taken for the engine's.
    pub ca: String,
    /// PEM of the gateway's certificate there, with those that vouch for it.
    pub certificate: String,
    /// PEM of that certificate's key. Kept encrypted, and never shown.
    #[schema(value_type = String)]
    pub key: Sensitive,
}

/// Whether a runtime can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeHealth {
    /// It answers.
    Answers,
    /// It does not answer at the moment, or never has.
    Silent,
    /// It has not answered for so long that its sandboxes may be started elsewhere.
    Lost,
}

/// A place where sandboxes can run, and how it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RuntimeState {
    /// Its name, as `runtime` of a sandbox says it.
    pub name: Name,
    /// What it is.
    pub kind: RuntimeKind,
    /// Whether the gateway brings it along.
    pub built_in: bool,
    /// Where it is; absent: on the gateway's own machine, or as its environment says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where its containers reach the gateway; absent: by a socket of their machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_url: Option<String>,
    /// What sandboxes can be placed by.
    pub labels: BTreeMap<String, String>,
    /// Whether it can be used now.
    pub health: RuntimeHealth,
    /// Since when it has not answered (RFC 3339, UTC); absent: it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub silent_since: Option<jiff::Timestamp>,
    /// What was heard instead of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// How many sandboxes are there, stopped ones among them.
    pub sandboxes: u64,
    /// Its processor cores; absent: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Cores that no sandbox of this gateway there has as its limit. Below zero: more are promised than there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_cpus: Option<f64>,
    /// Its memory, in bytes; absent: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Bytes of it that no sandbox of this gateway there has as its limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_memory: Option<u64>,
    /// Of a Swarm: where its images are put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// As whom its engines log in there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_user: Option<String>,
    /// Of a Swarm: its machines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeState>,
}

/// Whether a node of a Swarm can be used, as its managers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeHealth {
    /// It takes sandboxes.
    Ready,
    /// It keeps what it has and takes nothing new.
    Paused,
    /// It takes nothing, and what it had was ended.
    Drained,
    /// Its managers don't hear of it. What it had is ended once they do: such sandboxes are lost.
    Down,
}

/// A machine of a Swarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeState {
    /// Its name for people.
    pub name: String,
    /// Whether it can be used.
    pub health: NodeHealth,
    /// Why it can't, in its managers' words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Its labels in the Swarm; sandboxes can be placed by them, too.
    pub labels: BTreeMap<String, String>,
    /// Its processor cores.
    pub cpus: f64,
    /// Its memory, in bytes.
    pub memory: u64,
}
