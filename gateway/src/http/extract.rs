//! Axum's extractors with refusals that are problems.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts};
use axum::http::request::Parts;

use crate::error::{ApiError, refuse};
use crate::etag::Expected;

/// A JSON body.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(ApiError))]
pub(super) struct Json<T>(pub T);

/// Parts of the path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub(super) struct Path<T>(pub T);

/// The query string.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub(super) struct Query<T>(pub T);

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        let status = rejection.status().as_u16();
        let (code, hint) = match &rejection {
            JsonRejection::MissingJsonContentType(_) => ("not_json", "send `Content-Type: application/json`"),
            JsonRejection::BytesRejection(_) if status == 413 => ("too_large", "a JSON body may have 2 MiB"),
            _ => ("bad_request", "GET /openapi.json shows what the body must look like"),
        };
        refuse(status, code, rejection.body_text()).hint(hint)
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        refuse(rejection.status().as_u16(), "bad_path", rejection.body_text())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        refuse(rejection.status().as_u16(), "bad_query", rejection.body_text())
    }
}

impl<S: Sync> FromRequestParts<S> for Expected {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::of(&parts.headers)
    }
}
