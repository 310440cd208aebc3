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
