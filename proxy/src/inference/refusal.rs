//! Answers in the caller's own dialect when a request was not served.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use openshell_inference_format::endpoint::{Dialect, Endpoint};
use openshell_policy_host::PolicyRef;
use serde_json::json;

use super::service::{Body, BoxError};

/// Why a request was not served. Matched, never parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No such endpoint.
    UnknownEndpoint,
    /// The endpoint takes another method.
    MethodNotAllowed,
    /// The body or a header can't be understood, or could be understood two ways.
    BadRequest,
    /// The body is too long.
    TooLarge,
    /// The body's type or encoding is not read.
    UnsupportedMediaType,
    /// The body did not arrive.
    BodyTimeout,
    /// The router refused, or no candidate is cleared.
    PolicyDenied,
    /// The router did not answer, or answered what can't be honoured.
    PolicyFailed,
    /// No router is bound.
    Unavailable,
    /// Every candidate was tried, and none served.
    UpstreamFailed,
    /// A budget has no room for it.
    BudgetExhausted,
    /// The sandbox may not ask for this model.
    ModelNotAllowed,
}

impl Cause {
    /// Stable, machine-readable.
    pub fn code(self) -> &'static str {
        match self {
            Self::UnknownEndpoint => "unknown_endpoint",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BadRequest => "bad_request",
            Self::TooLarge => "request_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::BodyTimeout => "body_timeout",
            Self::PolicyDenied => "policy_denied",
            Self::PolicyFailed => "policy_failed",
            Self::Unavailable => "inference_unavailable",
            Self::UpstreamFailed => "upstream_failed",
            Self::BudgetExhausted => "budget_exhausted",
            Self::ModelNotAllowed => "model_not_allowed",
        }
    }

    /// HTTP status it is answered with. No client retries a 4xx other than 408, 409 and 429.
    pub fn status(self) -> StatusCode {
        match self {
            Self::UnknownEndpoint => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::PolicyDenied | Self::PolicyFailed | Self::Unavailable => StatusCode::FORBIDDEN,
            Self::UpstreamFailed => StatusCode::BAD_GATEWAY,
            Self::BudgetExhausted => StatusCode::PAYMENT_REQUIRED,
            Self::ModelNotAllowed => StatusCode::NOT_FOUND,
        }
    }

    /// The dialect's own name for errors of this kind.
    fn kind(self, dialect: Dialect) -> &'static str {
        match (self.status().as_u16(), dialect) {
            (404, Dialect::Anthropic) => "not_found_error",
            (402, Dialect::Anthropic) => "billing_error",
            (402, Dialect::Openai) => "insufficient_quota",
            (403, Dialect::Anthropic) => "permission_error",
            (403, Dialect::Openai) => "permission_denied",
            (413, Dialect::Anthropic) => "request_too_large",
            (500.., _) => "api_error",
            _ => "invalid_request_error",
        }
    }
}

/// One refusal, with everything its reader may want to know.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Why.
    pub cause: Cause,
    /// One sentence.
    pub reason: String,
    /// What the caller could do instead.
    pub hint: Option<String>,
    /// The rule that decided.
    pub rule: Option<String>,
}

impl Refusal {
    /// A refusal without a rule.
    pub fn new(cause: Cause, reason: impl Into<String>) -> Self {
        Self { cause, reason: reason.into(), hint: None, rule: None }
    }

    /// Says what the caller could do instead.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The answer. `decision` is the record's id; absent: nothing was decided.
    pub fn answer(
        &self,
        dialect: Dialect,
        by: Option<&PolicyRef>,
        generation: u64,
        decision: Option<&str>,
    ) -> Response<Body> {
        let message = match &self.hint {
            Some(hint) => format!("{} (hint: {hint})", self.reason),
            None => self.reason.clone(),
        };
        let kind = self.cause.kind(dialect);
        let mut document = match dialect {
            Dialect::Openai => {
                json!({"error": {"message": message, "type": kind, "param": null, "code": self.cause.code()}})
            }
            Dialect::Anthropic => json!({"type": "error", "error": {"type": kind, "message": message}}),
        };
        if let Some(decision) = decision {
            document["openshell"] = json!({
                "error": self.cause.code(), "detail": self.reason, "hint": self.hint, "layer": "route",
                "policy": by.map(|p| &p.name_version), "digest": by.map(|p| &p.digest), "generation": generation,
                "rule": self.rule, "decision": decision,
            });
        }
        let mut response = json_response(self.cause.status(), &document);
        let policy = by.and_then(|p| HeaderValue::try_from(&p.name_version).ok());
        response.headers_mut().insert("x-openshell-policy", policy.unwrap_or(HeaderValue::from_static("none")));
        response
    }
}

/// A JSON answer.
pub fn json_response(status: StatusCode, document: &serde_json::Value) -> Response<Body> {
    let text = document.to_string();
    let length = text.len();
    let mut response = Response::new(full(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// A body that is there already.
pub fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| -> BoxError { match never {} }).boxed_unsync()
}

/// A stream's native way of saying that it broke off: the last event the caller reads.
pub fn stream_error(endpoint: Endpoint, message: &str) -> Bytes {
    let event = match endpoint {
        Endpoint::Messages | Endpoint::CountTokens => {
            let error = json!({"type": "error", "error": {"type": "api_error", "message": message}});
            format!("\n\nevent: error\ndata: {error}\n\n")
        }
        Endpoint::Responses => {
            let error = json!({"type": "error", "code": "upstream_failed", "message": message, "param": null});
            format!("\n\nevent: error\ndata: {error}\n\n")
        }
        _ => {
            let error =
                json!({"error": {"message": message, "type": "api_error", "param": null, "code": "upstream_failed"}});
            format!("\n\ndata: {error}\n\n")
        }
    };
    event.into()
}
