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
    /// From the question to the answer's head, in microseconds; of inference to its end. Absent: nothing answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u64>,
    /// What it belongs to, where its `traceparent` says so (W3C Trace Context).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceRecord>,
    /// How it ended.
    pub verdict: Verdict,
    /// `policy_denied`, `ssrf_denied`, `policy_failed` …: in denials, and `client_tls_suspected`, of a connection that was allowed.
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
    /// The address that was refused, where the host's own check refused one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What the policies were asked, beyond the facts above; absent: they were not, or it was an inference request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// What each policy answered: the ceiling's, then the sandbox's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<VoteRecord>,
    /// What policies bound as shadows answered, and whether they would have changed the outcome.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadows: Vec<ShadowRecord>,
}

/// Whom a record is about.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// Sandbox's name.
    pub sandbox: &'a str,
    /// Who asked.
    pub process: ProcessRecord,
    /// Lowercase DNS name or address.
    pub host: &'a str,
    /// Port.
    pub port: u16,
}

impl DecisionRecord {
    /// A record of now, about a question that nothing has answered yet: denied, without a reason.
    pub fn unanswered(subject: Subject<'_>, stage: Stage, generation: u64) -> Self {
        let Subject { sandbox, process, host, port } = subject;
        Self {
            id: ulid::Ulid::generate().to_string(),
            at: jiff::Timestamp::now(),
            sandbox: sandbox.to_owned(),
            generation,
            stage,
            process,
            host: host.to_owned(),
            port,
            method: None,
            path: None,
            status: None,
            took_us: None,
            trace: None,
            verdict: Verdict::Deny,
            error: None,
            policy: None,
            digest: None,
            rule: None,
            reason: None,
            hint: None,
            decision_ns: 0,
            memoized: false,
            credential: None,
            audit: None,
            route: None,
            address: None,
            asked: None,
            votes: Vec::new(),
            shadows: Vec::new(),
        }
    }
}

impl DecisionRecord {
    /// It was answered now.
    pub fn answered(&mut self, status: u16) {
        self.status = Some(status);
        let took = jiff::Timestamp::now().duration_since(self.at).as_micros();
        self.took_us = Some(u64::try_from(took).unwrap_or(0));
    }

    /// Id of its trace, 32 hexadecimal digits: what the request belongs to, else the record's own.
    pub fn trace_id(&self) -> String {
        match &self.trace {
            Some(trace) => trace.trace_id.clone(),
            None => format!("{:032x}", self.number()),
        }
    }

    /// Id of its span, 16 hexadecimal digits, which the upstream finds in `traceparent`.
    pub fn span_id(&self) -> String {
        format!("{:016x}", u64::try_from(self.number() & u128::from(u64::MAX)).unwrap_or_default())
    }

    fn number(&self) -> u128 {
        ulid::Ulid::from_string(&self.id).map_or(1, u128::from)
    }
}

/// The trace that a request belongs to, and what in it is the request's cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TraceRecord {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// The caller's span: 16 hexadecimal digits.
    pub parent_id: String,
}

/// The rest of a question, so that another policy can be asked it later. Values that may hold a secret are left out, and
/// named in `withheld`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Asked {
    /// `transparent`, `tunnel` or `forward`.
    pub capture: String,
    /// `http` or `https`; absent: the question was about a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// The query, without the values of parameters whose name or form suggests a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Headers that hold no secret, in order, and only those: names in lowercase, and values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Length of the request's body in bytes, where it was known: the body itself is never kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
    /// Executables of the process's ancestors, nearest first; absent: no policy read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ancestors: Option<Vec<String>>,
    /// Parts of the question that are not kept as they were: `query`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
}

/// Headers whose values are kept in [`Asked::headers`]: those that say what a message is, and never who may send it.
pub const KEPT_HEADERS: [&str; 12] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "range",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// What one policy answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct VoteRecord {
    /// Its name in the chain.
    pub binding: String,
    /// It belongs to the ceiling.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ceiling: bool,
    /// `name@version`.
    pub policy: String,
    /// `sha256:<hex>` of its component.
    pub digest: String,
    /// What it said.
    pub answer: AnswerKind,
    /// Its rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why it denied, or why it gave no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the caller could do instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Name of the credential that it granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Set where its rule only audits: what it would have denied for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<String>,
    /// What it read, by name and never by value: `header content-type`, `body`, `label team` …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<String>,
}

/// A policy's answer, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerKind {
    /// It has no opinion.
    Abstain,
    /// It allows.
    Allow,
    /// It denies.
    Deny,
    /// It gave no answer, which denies.
    Failed,
    /// It is asked about each request instead.
    Later,
    /// It has no hook for the question.
    None,
}

/// What a policy answered that is asked and not obeyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ShadowRecord {
    /// Its answer, under the name it would have in the chain.
    #[serde(flatten)]
    pub vote: VoteRecord,
    /// What the decision would have been with it in the chain.
    pub would: Verdict,
    /// Whether that differs from what the policies decided.
    pub flips: bool,
    /// Time it took, in nanoseconds.
    pub took_ns: u64,
}

/// Which question a record answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
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
    /// What it counts as against budgets; absent: it was not served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged: Option<Charge>,
    /// How many values were replaced by placeholders before the backend saw the request.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub redacted: u32,
    /// Backends that answered before and whose answer did not pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalated: Vec<Escalation>,
}

/// An answer that did not pass a check, so that the next backend was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Escalation {
    /// The backend that gave it.
    pub backend: String,
    /// The model that gave it.
    pub model: String,
    /// The check that it did not pass.
    pub check: String,
    /// What it counts as against budgets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged: Option<Charge>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What a request counts as against budgets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Charge {
    /// Input tokens.
    pub input_tokens: u64,
    /// Those of them that a prompt cache held.
    #[serde(default)]
    pub cached_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Millionths of a millionth of a US dollar, at the backend's prices of that moment.
    pub cost: u64,
    /// Not as reported: the answer broke off, or said nothing of tokens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}
