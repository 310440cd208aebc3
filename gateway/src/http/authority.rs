//! The gateway's own certificate authority, and its turn to a new one.

use openshell_api::Problem;
use openshell_api::authority::{AuthorityState, FinishTurn};

use super::call::Call;
use super::extract::Json;
use super::to_the_end;
use crate::authority;
use crate::error::ApiResult;
use crate::identity::{Administer, Read};

/// Which authority the gateway's certificate is of, and who does not trust it yet.
#[utoipa::path(get, path = "/v1/authority", responses((status = 200, body = AuthorityState)))]
pub(super) async fn get(Call { gateway, .. }: Call<Read>) -> ApiResult<axum::Json<AuthorityState>> {
    authority::state(&gateway).await.map(axum::Json)
}

/// Makes a new authority, vouched for by the one before. Both are trusted until the turn is finished.
#[utoipa::path(post, path = "/v1/authority/turn", responses(
    (status = 200, body = AuthorityState),
    (status = 409, description = "authority_is_turning: the one before is still trusted", body = Problem),
))]
pub(super) async fn turn(Call { gateway, permit }: Call<Administer>) -> ApiResult<axum::Json<AuthorityState>> {
    to_the_end(authority::turn(gateway, permit)).await.map(axum::Json)
}

/// Lets the authority before this one go.
#[utoipa::path(post, path = "/v1/authority/finish", request_body = FinishTurn, responses(
    (status = 200, body = AuthorityState),
    (status = 409, description = "authority_is_not_turning; sandboxes_await: some that run do not trust the new one yet; gateways_await: some of the database do not have it yet", body = Problem),
))]
pub(super) async fn finish(
    Call { gateway, permit }: Call<Administer>,
    Json(FinishTurn { force }): Json<FinishTurn>,
) -> ApiResult<axum::Json<AuthorityState>> {
    to_the_end(authority::finish(gateway, permit, force)).await.map(axum::Json)
}
