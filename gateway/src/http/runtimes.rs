//! Where sandboxes can run.

use axum::http::StatusCode;
use openshell_api::runtime::{AddRuntime, RuntimeState, SetRuntime};
use openshell_api::{Page, Problem};

use super::call::Call;
use super::extract::{Json, Path, Query};
use super::page::Part;
use super::to_the_end;
use crate::error::ApiResult;
use crate::etag::Expected;
use crate::identity::{Administer, Read};
use crate::machines;

/// Every runtime, by name, and how it is.
#[utoipa::path(get, path = "/v1/runtimes", params(Part), responses((status = 200, body = Page<RuntimeState>)))]
pub(super) async fn list(
    Call { gateway, .. }: Call<Read>,
    Query(part): Query<Part>,
) -> ApiResult<axum::Json<Page<RuntimeState>>> {
    let states = machines::all(&gateway).await?;
    part.of("runtimes", states, |state| state.name.to_string()).map(axum::Json)
}

/// One runtime, and how it is.
#[utoipa::path(get, path = "/v1/runtimes/{name}", params(("name" = String, Path)), responses(
    (status = 200, body = RuntimeState),
    (status = 404, description = "runtime_not_found", body = Problem),
))]
pub(super) async fn get(
    Call { gateway, .. }: Call<Read>,
    Path(name): Path<String>,
) -> ApiResult<axum::Json<RuntimeState>> {
    machines::one(&gateway, &name).await.map(axum::Json)
}

/// Gives the gateway a Docker engine of another machine, or a Docker Swarm by one of its managers. It must answer, and so must the registry
/// of a Swarm.
#[utoipa::path(post, path = "/v1/runtimes", request_body = AddRuntime, responses(
    (status = 201, body = RuntimeState),
    (status = 409, description = "runtime_exists, too_many_runtimes", body = Problem),
    (status = 422, description = "built_in, bad_kind, bad_url, bad_label, bad_tls, bad_registry, tls_required, no_gateway_url; \
        runtime_unreachable: it does not answer, or lets nobody in; no_swarm_manager, engine_too_old, no_registry: a Swarm that can't be \
        used", body = Problem),
))]
pub(super) async fn add(
    Call { gateway, permit }: Call<Administer>,
    Json(add): Json<AddRuntime>,
) -> ApiResult<(StatusCode, axum::Json<RuntimeState>)> {
    let added = to_the_end(machines::add(gateway, permit, add)).await?;
    Ok((StatusCode::CREATED, axum::Json(added)))
}

/// Changes an engine's labels, and how it and the gateway reach each other. It must answer; its sandboxes go on.
#[utoipa::path(put, path = "/v1/runtimes/{name}", params(("name" = String, Path)), request_body = SetRuntime, responses(
    (status = 200, body = RuntimeState),
    (status = 404, description = "runtime_not_found: or it is the gateway's own", body = Problem),
    (status = 422, description = "bad_url, bad_label, bad_tls, bad_registry, runtime_unreachable, no_swarm_manager, engine_too_old, \
        no_registry", body = Problem),
))]
pub(super) async fn set(
    Call { gateway, permit }: Call<Administer>,
    Path(name): Path<String>,
    expected: Expected,
    Json(set): Json<SetRuntime>,
) -> ApiResult<axum::Json<RuntimeState>> {
    to_the_end(machines::set(gateway, permit, name, set, expected)).await.map(axum::Json)
}

/// Takes an engine away. Refused while a sandbox is there.
#[utoipa::path(delete, path = "/v1/runtimes/{name}", params(("name" = String, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "runtime_not_found: or it is the gateway's own", body = Problem),
    (status = 409, description = "runtime_in_use", body = Problem),
))]
pub(super) async fn remove(
    Call { gateway, permit }: Call<Administer>,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    to_the_end(machines::remove(gateway, permit, name)).await.map(|()| StatusCode::NO_CONTENT)
}
