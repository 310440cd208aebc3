//! Decision records: who asked for what, and which rule of which policy answered how.

use serde::{Deserialize, Serialize};

use crate::inference::Sensitivity;

/// One verdict. Holds no secret, no query string and no body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DecisionRecord {
    /// ULID; sorts by time. Also in the refusal's `decision` field.
    pub id: String,
    /// RFC 3339, UTC.
    #[schema(value_type = String)]
    pub at: jiff::Timestamp,
    /// Sandbox's name.
    pub sandbox: String,
    /// Generation it was decided under.
    pub generation: u64,
    /// Which question was asked.
    pub stage: Stage,
    /// Who asked.
    pub process: ProcessRecord,
    /// Lowercase DNS name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// HTTP method, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// HTTP path without query, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// HTTP status answered, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How it ended.
    pub verdict: Verdict,
    /// `policy_denied`, `ssrf_denied`, `policy_failed` …: only in denials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// `name@version` of the policy that decided; absent: no policy had a say (default deny).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// `sha256:<hex>` of that policy's component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// One sentence: what was refused and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the caller could do instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Time the whole chain took, in nanoseconds.
    pub decision_ns: u64,
    /// Whether every pure verdict of the chain came from the memo.
    pub memoized: bool,
    /// Name of the credential attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Set where an audit-mode rule would have denied: its reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<String>,
    /// Inference only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteRecord>,
}

/// Which question a record answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// May this process reach this host and port?
    Connect,
    /// May it make this HTTP request?
    Request,
    /// May this response pass?
    Response,
    /// The host's own checks while dialling (private addresses, certificates).
    Dial,
    /// Which backend serves this inference request?
    Route,
    /// A live connection, judged again after a new generation.
    Reevaluate,
}

/// How a decision ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Allowed.
    Allow,
    /// Denied.
    Deny,
}

/// The process behind a decision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProcessRecord {
    /// Absolute path inside the sandbox; empty: unknown.
    pub executable: String,
    /// SHA-256 of the executable, lowercase hex; empty: unknown.
    pub digest: String,
    /// The script an interpreter runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// Process id inside the sandbox.
    pub pid: u32,
}

/// How an inference request was routed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RouteRecord {
    /// What the session counts as, after this request.
    pub sensitivity: Sensitivity,
    /// The backend that served it; absent: none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The model that served it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Kinds of what was found, each with how often; never the values.
    pub findings: std::collections::BTreeMap<String, u32>,
    /// The router's reason.
    pub reason: String,
    /// Input tokens, as the backend reported them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Output tokens, as the backend reported them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
}
