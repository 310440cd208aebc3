//! Which API a request speaks.

use http::Method;
use openshell_api::inference::{Api, Backend};

use crate::document::Document;
use crate::translate::Carry;

/// Whose errors, events and shapes the caller understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's.
    Openai,
    /// Anthropic's.
    Anthropic,
}

/// An operation of an inference API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /v1/chat/completions`.
    Chat,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/responses`.
    Responses,
    /// `POST /v1/embeddings`.
    Embeddings,
    /// `POST /v1/messages`.
    Messages,
    /// `POST /v1/messages/count_tokens`.
    CountTokens,
    /// `GET /v1/models`, or one of them.
    Models,
}

/// Why a path and method name no operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// No such path.
    Path,
    /// The path exists; it takes this method.
    Method(&'static str),
}

impl Endpoint {
    /// The operation that `method` and `path` name.
    pub fn parse(method: &Method, path: &str) -> Result<Self, Unknown> {
        let endpoint = match path.trim_end_matches('/') {
            "/v1/chat/completions" => Self::Chat,
            "/v1/completions" => Self::Completions,
            "/v1/responses" => Self::Responses,
            "/v1/embeddings" => Self::Embeddings,
            "/v1/messages" => Self::Messages,
            "/v1/messages/count_tokens" => Self::CountTokens,
            path if path == "/v1/models" || path.starts_with("/v1/models/") => Self::Models,
            _ => return Err(Unknown::Path),
        };
        let takes = if endpoint == Self::Models { "GET" } else { "POST" };
        if method.as_str() == takes { Ok(endpoint) } else { Err(Unknown::Method(takes)) }
    }

    /// The operation that a path names when a body is posted to it.
    pub fn parse_post(path: &str) -> Result<Self, Unknown> {
        Self::parse(&Method::POST, path)
    }

    /// Whether a backend can serve it, in its own API or by translation.
    pub fn carried_to(self, backend: &Backend) -> bool {
        Carry::of(self, backend).is_some()
    }

    /// The API that it is of; `None`: the list of models, which is answered here.
    pub fn api(self) -> Option<Api> {
        Some(match self {
            Self::Chat => Api::Chat,
            Self::Completions => Api::Completions,
            Self::Responses => Api::Responses,
            Self::Embeddings => Api::Embeddings,
            Self::Messages => Api::Messages,
            Self::CountTokens => Api::CountTokens,
            Self::Models => return None,
        })
    }

    /// What follows a backend's base URL.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Completions => "/completions",
            Self::Responses => "/responses",
            Self::Embeddings => "/embeddings",
            Self::Messages => "/messages",
            Self::CountTokens => "/messages/count_tokens",
            Self::Models => "/models",
        }
    }

    /// The dialect of requests, answers and errors. Models are listed in both.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
            _ => Dialect::Openai,
        }
    }
}

/// The operation that a body was most likely written for, where nobody says.
pub fn of_body(document: &Document) -> Endpoint {
    let has = |key| document.get(key).is_some();
    if has("messages") {
        // Anthropic's API has its system prompt apart, and always a limit.
        let anthropic = has("system") || has("stop_sequences") || has("anthropic_version");
        if anthropic { Endpoint::Messages } else { Endpoint::Chat }
    } else if has("prompt") {
        Endpoint::Completions
    } else if document.model().contains("embed") || has("encoding_format") || has("dimensions") {
        Endpoint::Embeddings
    } else {
        Endpoint::Responses
    }
}

/// The dialect of a request whose endpoint is unknown or shared: Anthropic's clients always state a version.
pub fn guess(headers: &http::HeaderMap, path: &str) -> Dialect {
    if headers.contains_key("anthropic-version") || path.starts_with("/v1/messages") {
        Dialect::Anthropic
    } else {
        Dialect::Openai
    }
}
