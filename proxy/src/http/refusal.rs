//! Refusals: what a caller reads when something was not allowed, or did not work.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use openshell_api::decision::Stage;
use openshell_policy_host::PolicyRef;
use serde::Serialize;

use super::form::{Form, error_object};
use crate::inference::{Body, BoxError};
use crate::policy_local;

/// Present on every answer the proxy gives in an origin's place: the policy that decided, or `none`.
pub const POLICY_HEADER: HeaderName = HeaderName::from_static("x-openshell-policy");

/// What kind of refusal it is. Matched, never parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A policy denied it, or none allowed it.
    PolicyDenied,
    /// A policy did not answer, or answered what can't be honoured.
    PolicyFailed,
    /// The program behind the connection is unknown.
    CallerUnknown,
    /// CONNECT host, SNI and Host or `:authority` disagree.
    AuthorityMismatch,
    /// The grant wants requests judged, and these bytes hold none.
    InspectionRequired,
    /// The program does not accept the sandbox's certificate authority.
    ClientTls,
    /// The credential the grant names can't be attached here.
    CredentialRefused,
    /// The name leads to an address that is not public and was not granted.
    SsrfDenied,
    /// The request is malformed or ambiguous.
    BadRequest,
    /// A method the proxy does not serve.
    MethodNotAllowed,
    /// Inference is not set up in this sandbox.
    InferenceUnavailable,
    /// The upstream could not be reached, or broke off.
    UpstreamUnreachable,
    /// The upstream's certificate does not verify, or TLS failed.
    UpstreamTls,
    /// The upstream did not answer in time.
    UpstreamTimeout,
}

impl Cause {
    /// Stable, machine-readable.
    pub fn code(self) -> &'static str {
        match self {
            Self::PolicyDenied => "policy_denied",
            Self::PolicyFailed => "policy_failed",
            Self::CallerUnknown => "caller_unknown",
            Self::AuthorityMismatch => "request_authority_mismatch",
            Self::InspectionRequired => "inspection_required",
            Self::ClientTls => "client_tls",
            Self::CredentialRefused => "credential_refused",
            Self::SsrfDenied => "ssrf_denied",
            Self::BadRequest => "bad_request",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::InferenceUnavailable => "inference_unavailable",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamTls => "upstream_tls",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }

    /// HTTP status it is answered with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::InferenceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamUnreachable | Self::UpstreamTls => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::FORBIDDEN,
        }
    }
}

/// One refusal, with everything its reader may want to know.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// What kind.
    pub cause: Cause,
    /// One sentence: what was refused and why.
    pub detail: String,
    /// The question it answers.
    pub layer: Stage,
    /// The policy that decided.
    pub policy: Option<PolicyRef>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// What the caller could do instead.
    pub hint: Option<String>,
    /// Generation it was decided under.
    pub generation: u64,
    /// Id of the decision record.
    pub decision: String,
}

#[derive(Serialize)]
struct Document<'a> {
    error: &'a str,
    detail: &'a str,
    layer: Stage,
    policy: Option<&'a str>,
    digest: Option<&'a str>,
    generation: u64,
    rule: Option<&'a str>,
    hint: Option<&'a str>,
    decision: &'a str,
    /// Where to ask for it, if a user could allow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    ask: Option<&'static str>,
}

impl Refusal {
    /// The answer to whoever asked.
    pub fn answer(&self, form: &Form) -> Response<Body> {
        let mut response = match form {
            Form::Json => json(self.cause.status(), &self.document()),
            Form::Grpc => self.grpc(),
            Form::GraphQl => json(self.cause.status(), &self.graphql()),
            Form::JsonRpc(ids) => self.json_rpc(ids),
        };
        let policy = self.policy.as_ref().and_then(|policy| HeaderValue::try_from(&policy.name_version).ok());
        response.headers_mut().insert(POLICY_HEADER, policy.unwrap_or(HeaderValue::from_static("none")));
        response
    }

    fn document(&self) -> Document<'_> {
        Document {
            error: self.cause.code(),
            detail: &self.detail,
            layer: self.layer,
            policy: self.policy.as_ref().map(|policy| policy.name_version.as_str()),
            digest: self.policy.as_ref().map(|policy| policy.digest.as_str()),
            generation: self.generation,
            rule: self.rule.as_deref(),
            hint: self.hint.as_deref(),
            decision: &self.decision,
            ask: matches!(self.cause, Cause::PolicyDenied | Cause::SsrfDenied).then_some(policy_local::PROPOSALS),
        }
    }

    /// GraphQL's `errors`, beside what every refusal says.
    fn graphql(&self) -> serde_json::Value {
        let mut document = serde_json::json!(self.document());
        let message = self.sentence();
        document["errors"] = serde_json::json!([{ "message": message, "extensions": { "code": self.cause.code() } }]);
        document
    }

    /// A JSON-RPC error for each request, or the plain refusal where nobody waits for an answer. Clients read errors
    /// of answered calls, and give up on a transport that fails: hence 200.
    fn json_rpc(&self, ids: &super::form::Ids) -> Response<Body> {
        let data = serde_json::json!(self.document());
        match error_object(ids, &self.sentence(), &data) {
            Some(errors) => json(StatusCode::OK, &errors),
            None => json(self.cause.status(), &data),
        }
    }

    /// For people and agents: code, detail, hint.
    fn sentence(&self) -> String {
        let hint = self.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        format!("{}: {}{hint}", self.cause.code(), self.detail)
    }

    /// Trailers-only, as gRPC clients expect errors: PERMISSION_DENIED (7) or UNAVAILABLE (14).
    fn grpc(&self) -> Response<Body> {
        let mut response = Response::new(empty());
        let code = if self.cause.status().is_server_error() { "14" } else { "7" };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(code));
        if let Ok(message) = HeaderValue::try_from(percent_encode(&self.sentence())) {
            headers.insert("grpc-message", message);
        }
        response
    }
}

fn json(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    // Strings, numbers and what was parsed from JSON always serialize.
    let mut text = serde_json::to_vec(document).unwrap_or_default();
    text.push(b'\n');
    let length = text.len();
    let mut response = Response::new(Full::from(text).map_err(|never| -> BoxError { match never {} }).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// No body.
pub(super) fn empty() -> Body {
    http_body_util::Empty::new().map_err(|never| -> BoxError { match never {} }).boxed_unsync()
}

/// gRPC's encoding of status messages: printable ASCII stays, `%` and the rest is `%XX`.
fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
        out
    })
}
