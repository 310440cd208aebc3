//! What agents ask for.

use openshell_api::proposal::{Approve, Proposal, ProposalState, Reject};
use openshell_api::push::PushReport;
use openshell_api::{Page, Problem};
use serde::Deserialize;

use super::call::Call;
use super::extract::{Json, Path, Query};
use super::page::{self, Cursor, Items, Part};
use super::to_the_end;
use crate::error::ApiResult;
use crate::identity::{Operate, Read};
use crate::proposals;
use crate::store::ProposalQuery;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// Only of this sandbox.
    sandbox: Option<String>,
    /// Only those in this state.
    state: Option<ProposalState>,
    /// Go on after a page: its `next`.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
    /// At most so many.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Items,
}

/// Proposals, oldest first.
#[utoipa::path(get, path = "/v1/proposals", params(Filter), responses(
    (status = 200, body = Page<Proposal>),
    (status = 400, description = "bad_query, bad_cursor", body = Problem),
))]
pub(super) async fn list(
    Call { gateway, .. }: Call<Read>,
    Query(filter): Query<Filter>,
) -> ApiResult<axum::Json<Page<Proposal>>> {
    let query = ProposalQuery { sandbox: filter.sandbox, state: filter.state };
    let part = Part::new(filter.cursor, filter.limit);
    let after = part.after("proposals")?;
    let found = proposals::list(&gateway, &query, after.as_deref(), part.limit() + 1).await?;
    Ok(axum::Json(page::page("proposals", found, part.limit(), |proposal| proposal.id.clone())))
}

/// A proposal; while it is pending, with what approving it would change now.
#[utoipa::path(get, path = "/v1/proposals/{id}", params(("id" = String, Path)), responses(
    (status = 200, body = Proposal),
    (status = 404, description = "proposal_not_found", body = Problem),
))]
pub(super) async fn get(Call { gateway, .. }: Call<Read>, Path(id): Path<String>) -> ApiResult<axum::Json<Proposal>> {
    proposals::show(&gateway, &id).await.map(axum::Json)
}

/// Makes a generation of the sandbox whose rules have what was asked for. Answers when it is enforced.
#[utoipa::path(post, path = "/v1/proposals/{id}/approve", params(("id" = String, Path)), request_body = Approve, responses(
    (status = 200, body = PushReport),
    (status = 404, description = "proposal_not_found", body = Problem),
    (status = 409, description = "policy_changed: look again; already_decided, not_rules, rules_not_editable, \
        sandbox_not_connected, not_staged", body = Problem),
    (status = 422, description = "dangerous: the dangers must be accepted; settings_refused", body = Problem),
))]
pub(super) async fn approve(
    Call { gateway, permit }: Call<Operate>,
    Path(id): Path<String>,
    Json(approve): Json<Approve>,
) -> ApiResult<axum::Json<PushReport>> {
    to_the_end(proposals::approve(gateway, permit, id, approve)).await.map(axum::Json)
}

/// Refuses a proposal. The agent that waits reads the reason.
#[utoipa::path(post, path = "/v1/proposals/{id}/reject", params(("id" = String, Path)), request_body = Reject, responses(
    (status = 200, body = Proposal),
    (status = 404, description = "proposal_not_found", body = Problem),
    (status = 409, description = "already_decided", body = Problem),
))]
pub(super) async fn reject(
    Call { gateway, permit }: Call<Operate>,
    Path(id): Path<String>,
    Json(reject): Json<Reject>,
) -> ApiResult<axum::Json<Proposal>> {
    to_the_end(async move { proposals::reject(&gateway, &permit, &id, reject).await }).await.map(axum::Json)
}
