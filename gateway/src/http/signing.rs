//! The key that signs what sandboxes enforce, and its turn to another one.

use openshell_api::Problem;
use openshell_api::signing::{FinishSigningTurn, SigningState};

use super::call::Call;
use super::extract::Json;
use super::to_the_end;
use crate::error::ApiResult;
use crate::identity::{Administer, Read};
use crate::signing::rotation;

/// Which key signs what sandboxes enforce, and who does not trust it yet.
#[utoipa::path(get, path = "/v1/signing-key", responses((status = 200, body = SigningState)))]
pub(super) async fn get(Call { gateway, .. }: Call<Read>) -> ApiResult<axum::Json<SigningState>> {
    rotation::state(&gateway).await.map(axum::Json)
}

/// Makes a new key, vouched for by the one before. It signs, and everything is signed anew, as soon as every sandbox that is linked trusts it;
/// both are trusted until the turn is finished. Said again meanwhile, it makes no other one.
#[utoipa::path(post, path = "/v1/signing-key/turn", responses(
    (status = 200, body = SigningState),
    (status = 409, description = "signing_key_is_turning: the one before is still trusted", body = Problem),
))]
pub(super) async fn turn(Call { gateway, permit }: Call<Administer>) -> ApiResult<axum::Json<SigningState>> {
    to_the_end(rotation::turn(gateway, permit)).await.map(axum::Json)
}

/// Lets the key before this one go: sandboxes refuse what it signed.
#[utoipa::path(post, path = "/v1/signing-key/finish", request_body = FinishSigningTurn, responses(
    (status = 200, body = SigningState),
    (status = 409, description = "signing_key_is_not_turning; sandboxes_await: some that run do not trust the new one or do not enforce what it has signed yet; gateways_await: some of the database do not have it yet", body = Problem),
))]
pub(super) async fn finish(
    Call { gateway, permit }: Call<Administer>,
    Json(FinishSigningTurn { force }): Json<FinishSigningTurn>,
) -> ApiResult<axum::Json<SigningState>> {
    to_the_end(rotation::finish(gateway, permit, force)).await.map(axum::Json)
}
