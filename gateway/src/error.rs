//! Errors as the API answers them: `application/problem+json` with a stable code and, where one helps, a hint.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use openshell_api::Problem;
use openshell_policy_host::{BakeError, CheckError, CompileError};

use crate::secrets::{KeyringError, SecretError};
use crate::state_dir::StateDirError;
use crate::store::StoreError;

/// A refused or failed call.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct ApiError(pub Problem);

/// Answer of a call.
pub type ApiResult<T> = Result<T, ApiError>;

/// When to ask again, where the database is away.
const RETRY_AFTER_S: u64 = 2;

/// Code of the problem that a response tells, for whoever passes it on.
#[derive(Debug, Clone)]
pub(crate) struct Code(pub String);

/// A refusal without a hint.
pub fn refuse(status: u16, code: &str, detail: impl Into<String>) -> ApiError {
    ApiError(Problem::new(status, code, detail))
}

impl ApiError {
    /// The same with a hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self(self.0.hint(hint))
    }

    /// Nothing of that kind has that name.
    pub fn not_found(what: &str, name: impl std::fmt::Display) -> Self {
        refuse(404, &format!("{what}_not_found"), format!("there is no {what} {name}"))
    }

    /// No valid credentials came with the request.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        refuse(401, "unauthorized", detail)
            .hint("send `Authorization: Bearer <token>`; the administrator's token is in admin.token of the gateway's state directory")
    }

    /// The gateway's own fault: logged whole, answered without inner details that help nobody.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "a call failed inside the gateway");
        refuse(500, "internal", format!("the gateway failed: {error}"))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.0.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(etag) = self.0.etag.as_deref().and_then(|etag| HeaderValue::from_str(etag).ok()) {
            headers.insert(ETAG, etag);
        }
        response.extensions_mut().insert(Code(self.0.code));
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Exists { what, .. } => refuse(409, &format!("{what}_exists"), error.to_string())
                .hint(format!("choose another name, or delete that {what} first")),
            StoreError::InUse { what, .. } => {
                refuse(409, &format!("{what}_in_use"), error.to_string()).hint("remove what uses it first")
            }
            StoreError::Outdated => {
                refuse(409, "keys_turned", error.to_string()).hint("ask again: this gateway has the new key now")
            }
            StoreError::Unavailable(_) => {
                tracing::warn!(%error, "a call was put off");
                let mut put_off = refuse(503, "database_unavailable", error.to_string())
                    .hint("ask again in a moment; sandboxes enforce what they have meanwhile");
                put_off.0.retry_after_s = Some(RETRY_AFTER_S);
                put_off
            }
            _ => Self::internal(error),
        }
    }
}

impl From<KeyringError> for ApiError {
    fn from(error: KeyringError) -> Self {
        match error {
            KeyringError::Store(error) => error.into(),
            error @ KeyringError::Meanwhile => refuse(409, "keys_turned", error.to_string()).hint("ask again"),
            error => Self::internal(error),
        }
    }
}

impl From<StateDirError> for ApiError {
    fn from(error: StateDirError) -> Self {
        Self::internal(error)
    }
}

impl From<SecretError> for ApiError {
    fn from(error: SecretError) -> Self {
        Self::internal(error)
    }
}

impl From<serde_json::Error> for ApiError {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(error)
    }
}

impl From<tokio::task::JoinError> for ApiError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::internal(error)
    }
}

impl From<CheckError> for ApiError {
    fn from(error: CheckError) -> Self {
        let (status, code) = match &error {
            CheckError::TooLarge { .. } => (413, "too_large"),
            CheckError::NotWasm => (422, "not_wasm"),
            CheckError::CoreModule => (422, "core_module"),
            CheckError::Invalid { .. } => (422, "invalid_wasm"),
            CheckError::Forbidden { .. } => (422, "forbidden_import"),
            CheckError::Contract { .. } => (422, "unknown_contract"),
            CheckError::NoConfigure => (422, "no_configure"),
            CheckError::NoHook => (422, "no_hook"),
        };
        let hint = error.hint().unwrap_or("build it again with `openshell policy build`");
        refuse(status, code, error.to_string()).hint(hint)
    }
}

impl From<CompileError> for ApiError {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Check(error) => error.into(),
            CompileError::Bake(error) => error.into(),
            CompileError::Engine { .. } => refuse(422, "not_compiled", error.to_string()),
            CompileError::Artifact(_) => Self::internal(error),
        }
    }
}

impl From<BakeError> for ApiError {
    fn from(error: BakeError) -> Self {
        let (code, hint) = match &error {
            BakeError::Schema { .. } => ("bad_schema", "correct what the module's `configure.schema` answers"),
            BakeError::Settings { .. } => {
                ("settings_refused", "`openshell policy inspect` shows the schema of the module's settings")
            }
            BakeError::Refused { .. } => ("settings_refused", "change the settings as the module says"),
            BakeError::Configure(_) => ("configure_failed", "test the module's `configure` with these settings"),
            BakeError::Setup { .. } => ("bad_setup", "correct what the module's `configure` answers"),
            BakeError::Example { .. } | BakeError::ExampleFailed { .. } => {
                ("example_failed", "correct the module's examples, or the rule that they found wrong")
            }
            BakeError::Snapshot { .. } | BakeError::Instantiate { .. } => {
                ("not_baked", "build it again with `openshell policy build`")
            }
        };
        refuse(422, code, error.to_string()).hint(hint)
    }
}
