//! What a gateway says about itself.

use serde::{Deserialize, Serialize};

/// Contents of `endpoint.json` in a gateway's state directory: how a client on the same machine reaches it. Written
/// once the gateway answers, removed when it stops in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `https://host:port`.
    pub url: String,
    /// Path of the PEM file with the gateway's CA.
    pub ca: String,
    /// Path of the file (mode 0600) with the administrator's bearer token.
    pub token_file: String,
    /// The gateway's process id.
    pub pid: u32,
    /// The gateway's version.
    pub version: String,
}

/// How the bucket with modules is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BucketStatus {
    /// Where it is: `s3://bucket/prefix`.
    pub place: String,
    /// Why it was of no use when it was asked last; absent: it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Answer of `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Status {
    /// The gateway's version.
    pub version: String,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Sandboxes that exist.
    pub sandboxes: u64,
    /// Sandboxes whose supervisor is connected now.
    pub connected: u64,
    /// Stored modules.
    pub modules: u64,
    /// The bucket in which bytes of modules are; absent: they are in the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketStatus>,
    /// Decision records kept.
    pub decisions: u64,
    /// Runtimes that sandboxes can be made in.
    pub runtimes: Vec<crate::Name>,
}
