//! Pushes and the ceiling.

use axum::http::header::ETAG;
use axum::response::IntoResponse;
use openshell_api::Problem;
use openshell_api::module::Binding;
use openshell_api::push::{Enforcing, Push, PushReport, SetCeiling};

use super::call::Call;
use super::extract::Json;
use super::to_the_end;
use crate::error::ApiResult;
use crate::etag::{self, Expected};
use crate::identity::{Administer, Operate, Read};

/// Binds a stored module on sandboxes, all or none. Answers when each of them acknowledged that it enforces it.
#[utoipa::path(post, path = "/v1/pushes", request_body = Push, responses(
    (status = 200, body = PushReport),
    (status = 404, description = "sandbox_not_found, module_not_found", body = Problem),
    (status = 409, description = "sandbox_not_connected; not_staged: a sandbox refused, nothing changed", body = Problem),
    (status = 422, description = "settings_refused, configure_failed, example_failed …", body = Problem),
    (status = 504, description = "not_acknowledged: committed, but a sandbox was lost before it said so", body = Problem),
))]
pub(super) async fn push(
    Call { gateway, permit }: Call<Operate>,
    Json(push): Json<Push>,
) -> ApiResult<axum::Json<PushReport>> {
    to_the_end(crate::push::push(gateway, permit, push)).await.map(axum::Json)
}

/// The gateway-wide chain.
#[utoipa::path(get, path = "/v1/ceiling", responses((status = 200, body = Vec<Binding>)))]
pub(super) async fn get_ceiling(Call { gateway, .. }: Call<Read>) -> ApiResult<axum::Json<Vec<Binding>>> {
    Ok(axum::Json(gateway.store.setting("ceiling").await?.unwrap_or_default()))
}

/// Replaces the gateway-wide chain, on all connected sandboxes or none; the others catch up when they return.
#[utoipa::path(put, path = "/v1/ceiling", request_body = SetCeiling, responses(
    (status = 200, body = Vec<Enforcing>),
    (status = 404, description = "module_not_found", body = Problem),
    (status = 409, description = "not_staged: a sandbox refused, nothing changed", body = Problem),
    (status = 422, description = "settings_refused …", body = Problem),
))]
pub(super) async fn set_ceiling(
    Call { gateway, permit }: Call<Administer>,
    expected: Expected,
    Json(ceiling): Json<SetCeiling>,
) -> ApiResult<impl IntoResponse> {
    let (bindings, enforcing) = to_the_end(crate::push::set_ceiling(gateway, permit, ceiling, expected)).await?;
    Ok(([(ETAG, etag::of(&bindings)?)], axum::Json(enforcing)))
}
