//! Inference backends and the catalogue a sandbox may use.

use serde::{Deserialize, Serialize};

use crate::Name;

/// How sensitive something is. Ordered: `Public` < `Internal` < `Confidential` < `Restricted`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Sensitivity {
    /// Anyone may see it.
    #[default]
    Public,
    /// For the organisation.
    Internal,
    /// For few.
    Confidential,
    /// Must stay home.
    Restricted,
}

/// Where a backend runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Locality {
    /// Inside the sandbox's own machine, for it alone.
    Sandbox,
    /// On the gateway's host.
    Host,
    /// On a private network.
    Private,
    /// A public service.
    Public,
}

/// Which dialect a backend speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackendKind {
    /// OpenAI's API, or anything compatible with it (vLLM, Ollama's `/v1` …). Key as `Authorization: Bearer`.
    Openai,
    /// Anthropic's Messages API. Key as `x-api-key`.
    Anthropic,
}

/// Something that answers inference requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Unique on a gateway.
    pub name: Name,
    /// Dialect.
    pub kind: BackendKind,
    /// Base URL up to and including the version segment, such as `https://api.openai.com/v1`. A private address here
    /// is granted by the operator who wrote it.
    pub base_url: String,
    /// Model to ask it for; absent: the model the caller asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Where it runs.
    pub locality: Locality,
    /// The most sensitive request it may receive.
    pub clearance: Sensitivity,
    /// Price of a million input tokens, in millionths of a US dollar.
    #[serde(default)]
    pub input_price: u64,
    /// Price of a million output tokens, in millionths of a US dollar.
    #[serde(default)]
    pub output_price: u64,
    /// Context window, in tokens.
    #[serde(default = "default_context")]
    pub context: u32,
    /// `tools`, `vision`, `json`, `embeddings` …
    #[serde(default)]
    pub features: Vec<String>,
    /// Provider whose credential is its key; absent: it needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Name>,
    /// A stream that is silent for longer is given up, in milliseconds.
    #[serde(default = "default_idle_timeout_ms")]
    pub idle_timeout_ms: u64,
}

fn default_context() -> u32 {
    128_000
}

fn default_idle_timeout_ms() -> u64 {
    120_000
}

/// The backends of a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Catalogue {
    /// In the operator's order.
    pub backends: Vec<Backend>,
}

/// Stretch of time over which a budget counts, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// A calendar day.
    Day,
    /// A calendar month.
    Month,
    /// All time.
    Total,
}

impl Period {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Day, Self::Month, Self::Total];

    /// Number of the window that a time falls into: days since the Unix epoch, months since the year 0, or 0.
    pub fn window(self, at: jiff::Timestamp) -> i64 {
        match self {
            Self::Day => at.as_second().div_euclid(86_400),
            Self::Month => {
                let date = jiff::tz::TimeZone::UTC.to_datetime(at).date();
                i64::from(date.year()) * 12 + i64::from(date.month()) - 1
            }
            Self::Total => 0,
        }
    }
}

/// The most that a sandbox may spend on inference in a period. At least one of the limits is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Over which time.
    pub period: Period,
    /// Only what this backend costs; absent: all of them together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Name>,
    /// Millionths of a US dollar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<u64>,
    /// Tokens, input and output together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
}

/// What a sandbox may do with inference, besides what the router decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InferenceRules {
    /// All of them hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// Name that a caller may ask for → model that it stands for.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub aliases: std::collections::BTreeMap<String, String>,
    /// Models that may be asked for, aliases resolved; `*` at the end of one stands for anything. Empty: every model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
}

impl InferenceRules {
    /// Whether they say nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The model that a caller's name for it stands for.
    pub fn resolve<'a>(&'a self, model: &'a str) -> &'a str {
        self.aliases.get(model).map_or(model, String::as_str)
    }

    /// Whether a model, aliases resolved, may be asked for.
    pub fn allows(&self, model: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => model.starts_with(start),
            None => model == pattern,
        };
        self.models.is_empty() || self.models.iter().any(fits)
    }
}

/// What a sandbox has spent in a window, on one backend or on all together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Kind of window.
    pub period: Period,
    /// Its number; see [`Period::window`].
    pub window: i64,
    /// Name of the backend; absent: all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Millionths of a millionth of a US dollar.
    pub cost: u64,
    /// Tokens, input and output together.
    pub tokens: u64,
}

/// One line of `GET /v1/inference/usage`: what was used, summed over whatever the line does not name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Usage {
    /// Sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// Model that served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Backend that served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// `2024-05-01`, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// Requests that were served.
    pub requests: u64,
    /// Input tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Millionths of a millionth of a US dollar.
    pub cost: u64,
}

/// What a backend said when it was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BackendTest {
    /// It answered, and its key was accepted.
    pub ok: bool,
    /// HTTP status of its list of models, where it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Time until it answered, in milliseconds.
    pub took_ms: u64,
    /// Models that it lists, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
