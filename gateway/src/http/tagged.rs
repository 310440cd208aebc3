//! Entity tags around every call: an answer that can be read again bears one, whoever has it already is told so, and a condition that a
//! call would not keep is refused.

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;

use super::actions;
use crate::error::{ApiError, refuse};
use crate::etag;

/// Tags answers, and answers conditions.
pub(super) async fn tagged(request: Request, next: Next) -> Response {
    let (method, headers) = (request.method().clone(), request.headers());
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
    let changes = matches!(method, Method::POST | Method::DELETE) && actions::of(&method, path).is_some();
    if changes && headers.contains_key(IF_MATCH) {
        return refuse(400, "no_condition", format!("{method} keeps no condition here: nothing was done"))
            .hint("leave `If-Match` out; PUT keeps it")
            .into_response();
    }
    let known =
        headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
    let response = next.run(request).await;
    let tags = matches!(method, Method::GET | Method::PUT)
        && response.status() == StatusCode::OK
        && is_document(response.headers())
        && !response.headers().contains_key(ETAG);
    if !tags {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return ApiError::internal(error).into_response(),
    };
    let tag = etag::of_bytes(&body);
    if let Ok(value) = HeaderValue::from_str(&tag) {
        parts.headers.insert(ETAG, value);
    }
    if method == Method::GET && etag::listed(&known, &tag, false) {
        parts.headers.remove(CONTENT_TYPE);
        parts.status = StatusCode::NOT_MODIFIED;
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(body))
}

/// Whether an answer is one JSON document, and not a stream of them.
fn is_document(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json")
}
