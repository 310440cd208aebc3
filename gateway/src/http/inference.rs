//! Inference backends.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use openshell_api::Problem;
use openshell_api::inference::Backend;

use super::extract::{Json, Path};
use super::to_the_end;
use crate::error::{ApiResult, refuse};
use crate::gateway::Gateway;
use crate::push;

/// Every backend, in the operator's order.
#[utoipa::path(get, path = "/v1/inference/backends", responses((status = 200, body = Vec<Backend>)))]
pub(super) async fn list(State(gateway): State<Arc<Gateway>>) -> ApiResult<axum::Json<Vec<Backend>>> {
    Ok(axum::Json(gateway.store.catalogue().await?.backends))
}

/// Adds a backend; every connected sandbox may use it once this answers, or none.
#[utoipa::path(post, path = "/v1/inference/backends", request_body = Backend, responses(
    (status = 201, body = Backend),
    (status = 409, description = "backend_exists; not_staged: a sandbox refused, nothing changed", body = Problem),
    (status = 422, description = "provider_not_found, bad_url", body = Problem),
))]
pub(super) async fn add(
    State(gateway): State<Arc<Gateway>>,
    Json(backend): Json<Backend>,
) -> ApiResult<(StatusCode, axum::Json<Backend>)> {
    check_url(&backend.base_url)?;
    let backend = to_the_end(push::add_backend(gateway, backend)).await?;
    Ok((StatusCode::CREATED, axum::Json(backend)))
}

/// Removes a backend from every sandbox.
#[utoipa::path(delete, path = "/v1/inference/backends/{name}", params(("name" = String, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "backend_not_found", body = Problem),
))]
pub(super) async fn remove(State(gateway): State<Arc<Gateway>>, Path(name): Path<String>) -> ApiResult<StatusCode> {
    to_the_end(push::remove_backend(gateway, name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check_url(url: &str) -> ApiResult<()> {
    let parsed = url.parse::<Uri>().ok();
    let fine = parsed.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri
                .authority()
                .is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'))
            && uri.query().is_none()
    });
    if fine {
        return Ok(());
    }
    Err(refuse(422, "bad_url", format!("{url:?} is not a base URL"))
        .hint("write it up to its version segment, such as https://api.openai.com/v1; no user, no query"))
}
