//! Policies on their way from a few sandboxes to all.

use openshell_api::push::PushReport;
use openshell_api::rollout::{PromoteRollout, Rollout, RolloutReport};
use openshell_api::{Page, Problem};

use super::call::Call;
use super::extract::{Json, Path, Query};
use super::page::Part;
use super::to_the_end;
use crate::error::ApiResult;
use crate::identity::{Operate, Read};
use crate::{push, rollout};

/// Rollouts and what their canaries' records say, newest first.
#[utoipa::path(get, path = "/v1/rollouts", params(Part), responses((status = 200, body = Page<RolloutReport>)))]
pub(super) async fn list(
    Call { gateway, .. }: Call<Read>,
    Query(part): Query<Part>,
) -> ApiResult<axum::Json<Page<RolloutReport>>> {
    let page = part.of_newest("rollouts", gateway.store.rollouts().await?, |rollout| rollout.id.clone())?;
    let items = rollout::reports(&gateway, page.items).await?;
    Ok(axum::Json(Page { items, next: page.next }))
}

/// One rollout.
#[utoipa::path(get, path = "/v1/rollouts/{id}", params(("id" = String, Path)), responses(
    (status = 200, body = RolloutReport),
    (status = 404, description = "rollout_not_found", body = Problem),
))]
pub(super) async fn get(
    Call { gateway, .. }: Call<Read>,
    Path(id): Path<String>,
) -> ApiResult<axum::Json<RolloutReport>> {
    rollout::report_on(&gateway, &id).await.map(axum::Json)
}

/// Binds a rollout's policy on every other sandbox that its labels select, all or none.
#[utoipa::path(post, path = "/v1/rollouts/{id}/promote", params(("id" = String, Path)), request_body = PromoteRollout,
    responses(
    (status = 200, body = PushReport),
    (status = 404, description = "rollout_not_found", body = Problem),
    (status = 409, description = "rollout_ended; not_promoted: failures, or too few decisions; not_staged", body = Problem),
))]
pub(super) async fn promote(
    Call { gateway, permit }: Call<Operate>,
    Path(id): Path<String>,
    Json(promote): Json<PromoteRollout>,
) -> ApiResult<axum::Json<PushReport>> {
    to_the_end(push::promote_rollout(gateway, permit, id, promote)).await.map(axum::Json)
}

/// Takes a rollout back from its canaries: each gets what it had before.
#[utoipa::path(post, path = "/v1/rollouts/{id}/rollback", params(("id" = String, Path)), responses(
    (status = 200, body = Rollout),
    (status = 404, description = "rollout_not_found", body = Problem),
    (status = 409, description = "rollout_ended", body = Problem),
))]
pub(super) async fn rollback(
    Call { gateway, permit }: Call<Operate>,
    Path(id): Path<String>,
) -> ApiResult<axum::Json<Rollout>> {
    to_the_end(push::roll_back(gateway, permit, id, "the user took it back".to_owned())).await.map(axum::Json)
}
