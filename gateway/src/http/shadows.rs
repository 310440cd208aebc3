//! Policies that are asked and not obeyed.

use openshell_api::push::PushReport;
use openshell_api::shadow::{Promote, ShadowReport};
use openshell_api::{Page, Problem};

use super::call::Call;
use super::extract::{Json, Path, Query};
use super::page::Part;
use super::to_the_end;
use crate::error::ApiResult;
use crate::identity::{Operate, Read};
use crate::shadow;

/// Shadows of a sandbox by name, and what they would have changed since they were bound.
#[utoipa::path(get, path = "/v1/sandboxes/{name}/shadows", params(("name" = String, Path), Part), responses(
    (status = 200, body = Page<ShadowReport>),
    (status = 404, description = "sandbox_not_found", body = Problem),
))]
pub(super) async fn list(
    Call { gateway, .. }: Call<Read>,
    Path(name): Path<String>,
    Query(part): Query<Part>,
) -> ApiResult<axum::Json<Page<ShadowReport>>> {
    let reports = shadow::reports(&gateway, &name).await?;
    part.of("shadows", reports, |report| report.binding.to_string()).map(axum::Json)
}

/// Obeys a shadow from now on, in the chain and in the place of the binding of its name; or throws it away.
#[utoipa::path(post, path = "/v1/sandboxes/{name}/promote", params(("name" = String, Path)), request_body = Promote,
    responses(
    (status = 200, body = PushReport),
    (status = 404, description = "sandbox_not_found, shadow_not_found", body = Problem),
    (status = 409, description = "not_promoted: too many flips, failures, or too few decisions; not_staged", body = Problem),
))]
pub(super) async fn promote(
    Call { gateway, permit }: Call<Operate>,
    Path(name): Path<String>,
    Json(promote): Json<Promote>,
) -> ApiResult<axum::Json<PushReport>> {
    to_the_end(crate::push::promote(gateway, permit, name, promote)).await.map(axum::Json)
}
