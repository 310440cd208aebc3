//! Sandboxes as the API shows them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Name;
use crate::enforcement::Enforcement;

/// Body of `POST /v1/sandboxes`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSandbox {
    /// Absent: the gateway picks one.
    #[serde(default)]
    pub name: Option<Name>,
    /// The workload's argv; empty: the sandbox idles until something is executed in it.
    #[serde(default)]
    pub command: Vec<String>,
    /// Added to the workload's environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Absolute working directory; absent: the sandbox's own workspace.
    #[serde(default)]
    pub workdir: Option<String>,
    /// Free-form labels; policies can read them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Names the proxy resolves to a fixed address, as Docker's `--add-host`: name → IP address, or `host-gateway` for
    /// the machine that the sandbox runs on. A private address still needs a grant.
    #[serde(default)]
    pub add_hosts: BTreeMap<String, String>,
    /// Providers whose credentials policies of this sandbox may attach.
    #[serde(default)]
    pub providers: Vec<Name>,
    /// Policies it has from its first generation on, in this order. What their `launch` hooks say about files and user is
    /// fixed for the life of the sandbox.
    #[serde(default)]
    pub policies: Vec<FirstPolicy>,
    /// Start even where the kernel can't raise every wall; the missing ones show in every listing.
    #[serde(default)]
    pub allow_degraded: bool,
    /// Record without blocking, until a policy is set: only the ceiling, private addresses and what no policy may allow
    /// are refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observe: bool,
    /// Name of the runtime it is to run in; absent: the gateway's choice.
    #[serde(default)]
    pub runtime: Option<Name>,
    /// Labels that its runtime must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub on: BTreeMap<String, String>,
    /// Image to run in; absent: the gateway's default image. In containers alone, as what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Directories of the engine's host, and named volumes, shown inside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// The container network from which the proxy dials; absent: one of OpenShell's own. The workload has none in any
    /// case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Pass all GPUs through.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gpu: bool,
    /// Most processor time, in cores: 1.5 is one and a half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Most memory, in bytes; swap included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Most processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

/// A directory shown inside a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// An absolute path on the engine's host, or the name of a volume, which is made if it does not exist.
    pub source: String,
    /// Absolute path inside.
    pub target: String,
    /// Whether it can't be written.
    #[serde(default)]
    pub read_only: bool,
}

/// A policy that a sandbox is created with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FirstPolicy {
    /// `sha256:<hex>` of a stored module.
    pub module: String,
    /// Name of the binding; absent: the module's name.
    #[serde(default)]
    pub binding: Option<Name>,
    /// Settings, judged by the module's schema and by its `configure`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub settings: Option<serde_json::Value>,
}

/// What a runtime is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeKind {
    /// Namespaces on the gateway's own host.
    Process,
    /// Containers of a Docker engine.
    Docker,
    /// Services of a Docker Swarm.
    Swarm,
}

impl RuntimeKind {
    /// Its word, which is also the name of the runtime of that kind that a gateway brings along.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Docker => "docker",
            Self::Swarm => "swarm",
        }
    }
}

/// A sandbox and its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Sandbox {
    /// Unique among all sandboxes ever made by this gateway (a ULID).
    pub id: String,
    /// Unique among living sandboxes.
    pub name: Name,
    /// The user who made it; only that one, and admins, may change it.
    #[serde(default)]
    pub owner: String,
    /// Name of the runtime it is in.
    pub runtime: Name,
    /// In a Swarm: the node that it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The image it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What it is doing.
    pub phase: Phase,
    /// Exit code of the workload once it ended; 128 + n if signal n ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it is in `Failed`, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Whether its supervisor is connected to a gateway now.
    pub connected: bool,
    /// The generation it was last known to enforce; 0: none yet (everything is denied).
    pub generation: u64,
    /// The workload's argv.
    pub command: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// RFC 3339, UTC.
    #[schema(value_type = String)]
    pub created_at: jiff::Timestamp,
    /// Protections that could not be put up although asked for; empty when none is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
    /// It records without blocking: what no policy allows is allowed, until a policy is set.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observing: bool,
    /// What a probe inside found about its walls when it last tried; absent: it has not tried yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Enforcement>,
}

/// What a sandbox is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its supervisor is starting.
    Starting,
    /// Walls are up; the workload runs or the sandbox idles.
    Running,
    /// The workload ended by itself; `exit_code` says how.
    Exited,
    /// It was stopped: nothing runs, and what it holds is kept for its next start. `exit_code` says how the workload ended.
    Stopped,
    /// It could not start, or its supervisor died.
    Failed,
    /// Its machine has not answered for a while, nor has its supervisor: it may run there or not. `sandbox start --elsewhere` starts it
    /// on another one.
    Lost,
    /// It is being torn down.
    Deleting,
}

/// A command to run in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// argv; the first element is looked up in the sandbox's PATH.
    pub command: Vec<String>,
    /// Added to the environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Absolute working directory; absent: the sandbox's workspace.
    #[serde(default)]
    pub workdir: Option<String>,
    /// Allocate a terminal of this size.
    #[serde(default)]
    pub tty: Option<WindowSize>,
}

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WindowSize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// One line a workload wrote, as `GET /v1/sandboxes/{name}/logs` answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LogLine {
    /// RFC 3339, UTC.
    #[schema(value_type = String)]
    pub at: jiff::Timestamp,
    /// `stdout`, `stderr`, `supervisor` or `gateway`.
    pub stream: String,
    /// The line without its end.
    pub line: String,
    /// On the one line that ends a run of the workload: its exit code. Everything the workload wrote before it ended
    /// precedes this line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// On a line of the gateway's that stands in the place of others: how many are missing there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
}
