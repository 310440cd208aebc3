//! What a supervisor is started with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Name;
use crate::signing::GatewayKey;

/// A supervisor's start file (JSON, mode 0600): written by the gateway's runtime, read once.
#[derive(Clone, Serialize, Deserialize)]
pub struct LaunchSpec {
    /// The sandbox's id.
    pub sandbox_id: String,
    /// The sandbox's name.
    pub sandbox: Name,
    /// `https://…` of the gateway.
    pub gateway_url: String,
    /// PEM of the only CAs the supervisor trusts for the gateway, until it is told of others over its link.
    pub gateway_ca: String,
    /// Since when (`ToSupervisor::Trust`).
    #[serde(default)]
    pub gateway_ca_epoch: u64,
    /// Bearer token: opens this sandbox's link and nothing else, until the supervisor has taken the credentials that it is given there.
    pub token: String,
    /// Ed25519 public key (32 bytes, hex) whose signature generations and artifacts must bear, until the supervisor is told of others over
    /// its link.
    pub verifying_key: String,
    /// Others whose signatures are as good, while the gateway's key turns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_keys: Vec<GatewayKey>,
    /// Directory of the supervisor's own: last-known-good generation, artifacts, spool, logs. The workload can't read it.
    pub state_dir: String,
    /// Directory of the workload: its workspace (home and default working directory).
    pub workspace: String,
    /// Directories that no policy can show the workload, beside `state_dir`: the gateway's own.
    #[serde(default)]
    pub hidden: Vec<String>,
    /// Start even where this kernel can't raise every wall; which ones are missing is told.
    #[serde(default)]
    pub allow_degraded: bool,
    /// The container image it is made of, as policies are told; absent: it has none.
    #[serde(default)]
    pub image: Option<String>,
    /// The workload's argv; empty: idle.
    pub command: Vec<String>,
    /// Added to its environment.
    pub env: BTreeMap<String, String>,
    /// Its working directory; absent: the workspace.
    pub workdir: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Names resolved to a fixed address.
    pub add_hosts: BTreeMap<String, std::net::IpAddr>,
    /// PEM of further CAs to trust upstream, beside the system's.
    pub upstream_ca: Option<String>,
    /// A Unix socket on which the gateway answers as well; absent: it is dialled at `gateway_url`.
    #[serde(default)]
    pub gateway_socket: Option<String>,
    /// Whether the filesystem around the supervisor is the sandbox's own, as a container's is: the workload then sees
    /// all of it, read-only, except `state_dir`.
    #[serde(default)]
    pub own_root: bool,
    /// Directories that the workload may write, beside its workspace.
    #[serde(default)]
    pub writable: Vec<String>,
    /// Protections that the runtime had to leave out; reported with the supervisor's own.
    #[serde(default)]
    pub degraded: Vec<String>,
}

/// Name of the file in `state_dir` in which a supervisor says who it is, so that a restarted gateway finds it again.
pub const STATUS_FILE: &str = "status.json";

/// Content of [`STATUS_FILE`] (JSON). The process is alive if `/proc/<pid>/stat` shows the same start time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorStatus {
    /// Its process id, on the host.
    pub pid: u32,
    /// Field 22 of `/proc/<pid>/stat`: when it started, in clock ticks since boot.
    pub start_time: u64,
    /// Its version.
    pub version: String,
    /// The sandbox it runs.
    pub sandbox_id: String,
}
