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

/// What a backend is: which APIs it speaks, and how it takes its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackendKind {
    /// OpenAI's API, all of it. Key as `Authorization: Bearer`.
    Openai,
    /// OpenAI's API as Azure serves it, below `/openai/v1`. Key as `api-key`.
    Azure,
    /// Ollama's `/v1`: chat completions, completions, embeddings.
    Ollama,
    /// vLLM's `/v1`: what OpenAI's has.
    Vllm,
    /// Anything else that is compatible with OpenAI's chat completions, completions and embeddings.
    Compatible,
    /// Anthropic's Messages API. Key as `x-api-key`.
    Anthropic,
}

impl BackendKind {
    /// The APIs that it speaks.
    pub fn apis(self) -> &'static [Api] {
        match self {
            Self::Openai | Self::Azure | Self::Vllm => &[Api::Chat, Api::Completions, Api::Responses, Api::Embeddings],
            Self::Ollama | Self::Compatible => &[Api::Chat, Api::Completions, Api::Embeddings],
            Self::Anthropic => &[Api::Messages, Api::CountTokens],
        }
    }
}

/// An operation that a backend may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's completions.
    Completions,
    /// OpenAI's responses.
    Responses,
    /// OpenAI's embeddings.
    Embeddings,
    /// Anthropic's messages.
    Messages,
    /// Anthropic's count_tokens.
    CountTokens,
}

/// Something that answers inference requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Unique on a gateway.
    pub name: Name,
    /// What it is.
    pub kind: BackendKind,
    /// APIs that it speaks, where they are not those of its kind; empty: those of its kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apis: Vec<Api>,
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
    /// Price of a million input tokens that its prompt cache held; absent: that of all input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input_price: Option<u64>,
    /// Price of a million input tokens that were written to its prompt cache; absent: that of all input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_price: Option<u64>,
    /// Requests that it is not cleared for may go there once what was found in them is replaced by placeholders.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redact: bool,
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

impl Backend {
    /// The APIs that it speaks.
    pub fn apis(&self) -> &[Api] {
        if self.apis.is_empty() { self.kind.apis() } else { &self.apis }
    }

    /// Whether it speaks an API.
    pub fn speaks(&self, api: Api) -> bool {
        self.apis().contains(&api)
    }
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

    /// As a sentence has it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Day => "the day",
            Self::Month => "the month",
            Self::Total => "all time",
        }
    }

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

impl Budget {
    /// Its limit as costs are counted, in millionths of a millionth of a US dollar.
    pub fn fine_cost(&self) -> Option<u128> {
        self.cost.map(|cost| u128::from(cost) * 1_000_000)
    }
}

/// Millionths of a millionth of a US dollar in dollars, with as many of twelve decimals as it needs and at least two: `0.00`, `0.000123`.
pub fn dollars(cost: u128) -> String {
    const DOLLAR: u128 = 1_000_000_000_000;
    let fraction = format!("{:012}", cost % DOLLAR);
    format!("{}.{:0<2}", cost / DOLLAR, fraction.trim_end_matches('0'))
}

/// A budget that a user's sandboxes spend together, and what they have spent of it in the window of now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BudgetUse {
    /// The budget.
    pub budget: Budget,
    /// Millionths of a millionth of a US dollar.
    pub cost: u64,
    /// Tokens, input and output together.
    pub tokens: u64,
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
    /// A small model that is tried first; absent: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cascade: Option<Cascade>,
}

/// A small model tried first, and what its answer must pass. What does not pass is asked of the next backend in the router's
/// order; both are charged for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Cascade {
    /// Backend that is tried first, wherever the router's order names it.
    pub first: Name,
    /// All of them must pass. At least one.
    #[schema(value_type = Vec<String>)]
    pub checks: Vec<Check>,
}

/// What an answer is checked for. Written `refusal`, `json`, `cut`, `short=20`, `logprob=-1.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Check {
    /// It refuses.
    Refusal,
    /// It is no JSON although JSON was asked for, or a tool call's arguments are none.
    Json,
    /// It ended at its limit of tokens.
    Cut,
    /// Its text has fewer characters, and it calls no tool.
    Short(u32),
    /// The mean log probability of its tokens is lower, in thousandths; chat completions only.
    Logprob(i32),
}

/// A check that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no check; known are refusal, json, cut, short=CHARACTERS and logprob=MEAN, such as logprob=-1.5")]
pub struct NotACheck(String);

impl std::str::FromStr for Check {
    type Err = NotACheck;

    fn from_str(text: &str) -> Result<Self, NotACheck> {
        let bad = || NotACheck(text.to_owned());
        Ok(match text.split_once('=') {
            None if text == "refusal" => Self::Refusal,
            None if text == "json" => Self::Json,
            None if text == "cut" => Self::Cut,
            Some(("short", number)) => Self::Short(number.parse().map_err(|_| bad())?),
            Some(("logprob", number)) => {
                let mean = number.parse::<f64>().ok().filter(|mean| (-100.0..=0.0).contains(mean)).ok_or_else(bad)?;
                Self::Logprob((mean * 1000.0).round() as i32)
            }
            _ => return Err(bad()),
        })
    }
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refusal => f.write_str("refusal"),
            Self::Json => f.write_str("json"),
            Self::Cut => f.write_str("cut"),
            Self::Short(characters) => write!(f, "short={characters}"),
            Self::Logprob(mean) => write!(f, "logprob={}", f64::from(*mean) / 1000.0),
        }
    }
}

impl TryFrom<String> for Check {
    type Error = NotACheck;

    fn try_from(text: String) -> Result<Self, NotACheck> {
        text.parse()
    }
}

impl From<Check> for String {
    fn from(check: Check) -> Self {
        check.to_string()
    }
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
    /// Those of them that a prompt cache held.
    #[serde(default)]
    pub cached_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Millionths of a millionth of a US dollar.
    pub cost: u64,
}

/// What a session of a sandbox has contained. Sensitivity only rises, until a user resets the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Session {
    /// Its key: `sandbox` for all requests that name no session, else what names it and the beginning of the SHA-256 of that name.
    pub session: String,
    /// What it counts as.
    pub sensitivity: Sensitivity,
}

impl Session {
    /// Key of the session of a sandbox's requests that name none.
    pub const SANDBOX: &'static str = "sandbox";

    /// Key of a session that is named by the header `x-openshell-session`.
    pub fn of_header(name: &[u8]) -> String {
        Self::key("header", name)
    }

    /// Key of a session. Names from outside are hashed: they may be long, and they travel.
    pub fn key(kind: &str, name: &[u8]) -> String {
        use sha2::Digest as _;
        format!("{kind}:{}", hex::encode(&sha2::Sha256::digest(name)[..16]))
    }
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
