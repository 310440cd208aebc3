//! Users, their tokens, and who one is.

use axum::http::StatusCode;
use openshell_api::discovery::Discovery;
use openshell_api::inference::{Budget, BudgetUse};
use openshell_api::user::{CreateToken, CreateUser, CreatedToken, SetUser, Token, User, WhoAmI};
use openshell_api::{Page, Problem};

use super::call::{Call, Open};
use super::extract::{Json, Path, Query};
use super::page::{self, Part};
use super::to_the_end;
use crate::budgets;
use crate::error::ApiResult;
use crate::etag::Expected;
use crate::identity::users;
use crate::identity::{Actor, Administer, Read};

/// How to log in. Answered to anybody.
#[utoipa::path(get, path = "/.well-known/openshell", security(()), responses((status = 200, body = Discovery)))]
pub(super) async fn discovery(Open(gateway): Open) -> axum::Json<Discovery> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    axum::Json(Discovery { version, auth: gateway.identities.methods() })
}

/// Who the caller is, and what it may do.
#[utoipa::path(get, path = "/v1/whoami", responses((status = 200, body = WhoAmI)))]
pub(super) async fn whoami(Call { permit, .. }: Call<Read>) -> ApiResult<axum::Json<WhoAmI>> {
    match permit.actor() {
        Actor::Caller(caller) => Ok(axum::Json(caller.whoami())),
        Actor::Gateway => Err(crate::error::ApiError::internal("a call of the gateway itself")),
    }
}

/// Users of the gateway's own, by name.
#[utoipa::path(get, path = "/v1/users", params(Part), responses((status = 200, body = Page<User>)))]
pub(super) async fn list(
    Call { gateway, .. }: Call<Read>,
    Query(part): Query<Part>,
) -> ApiResult<axum::Json<Page<User>>> {
    let found = gateway.store.users_after(part.after("users")?.as_deref(), part.limit() + 1).await?;
    Ok(axum::Json(page::page("users", found, part.limit(), |user| user.name.to_string())))
}

/// One user of the gateway's own.
#[utoipa::path(get, path = "/v1/users/{name}", params(("name" = String, Path)), responses(
    (status = 200, body = User),
    (status = 404, description = "user_not_found", body = Problem),
))]
pub(super) async fn get(Call { gateway, .. }: Call<Read>, Path(name): Path<String>) -> ApiResult<axum::Json<User>> {
    users::known(&gateway, &name).await.map(axum::Json)
}

/// Makes a user. It has no token yet.
#[utoipa::path(post, path = "/v1/users", request_body = CreateUser, responses(
    (status = 201, body = User),
    (status = 403, description = "forbidden", body = Problem),
    (status = 409, description = "user_exists: or there was one of that name", body = Problem),
    (status = 422, description = "bad_name", body = Problem),
))]
pub(super) async fn create(
    Call { gateway, permit }: Call<Administer>,
    Json(create): Json<CreateUser>,
) -> ApiResult<(StatusCode, axum::Json<User>)> {
    let user = to_the_end(users::create(gateway, permit, create)).await?;
    Ok((StatusCode::CREATED, axum::Json(user)))
}

/// Changes what a user may do, from its next request on.
#[utoipa::path(put, path = "/v1/users/{name}", params(("name" = String, Path)), request_body = SetUser, responses(
    (status = 200, body = User),
    (status = 403, description = "forbidden", body = Problem),
    (status = 404, description = "user_not_found", body = Problem),
    (status = 409, description = "first_admin", body = Problem),
))]
pub(super) async fn set(
    Call { gateway, permit }: Call<Administer>,
    Path(name): Path<String>,
    expected: Expected,
    Json(set): Json<SetUser>,
) -> ApiResult<axum::Json<User>> {
    to_the_end(users::set(gateway, permit, name, set, expected)).await.map(axum::Json)
}

/// Deletes a user and revokes its tokens. What it owns stays, and its name is never given anew.
#[utoipa::path(delete, path = "/v1/users/{name}", params(("name" = String, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 403, description = "forbidden", body = Problem),
    (status = 404, description = "user_not_found", body = Problem),
    (status = 409, description = "first_admin", body = Problem),
))]
pub(super) async fn delete(
    Call { gateway, permit }: Call<Administer>,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    to_the_end(users::delete(gateway, permit, name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a user's sandboxes may spend on inference together, and what they have spent. One's own, or an administrator asks.
#[utoipa::path(get, path = "/v1/users/{name}/budgets", params(("name" = String, Path)), responses(
    (status = 200, body = Vec<BudgetUse>),
    (status = 403, description = "not_yours", body = Problem),
    (status = 404, description = "user_not_found", body = Problem),
))]
pub(super) async fn get_budgets(
    Call { gateway, permit }: Call<Read>,
    Path(name): Path<String>,
) -> ApiResult<axum::Json<Vec<BudgetUse>>> {
    budgets::of(&gateway, &permit, &name).await.map(axum::Json)
}

/// Replaces what a user's sandboxes may spend on inference together; it holds once this answers, or once they connect again.
#[utoipa::path(put, path = "/v1/users/{name}/budgets", params(("name" = String, Path)), request_body = Vec<Budget>, responses(
    (status = 200, body = Vec<BudgetUse>),
    (status = 403, description = "forbidden", body = Problem),
    (status = 404, description = "user_not_found", body = Problem),
    (status = 409, description = "not_staged: a sandbox refused, nothing changed", body = Problem),
    (status = 422, description = "bad_budget", body = Problem),
))]
pub(super) async fn set_budgets(
    Call { gateway, permit }: Call<Administer>,
    Path(name): Path<String>,
    expected: Expected,
    Json(budgets): Json<Vec<Budget>>,
) -> ApiResult<axum::Json<Vec<BudgetUse>>> {
    to_the_end(budgets::set(gateway, permit, name, budgets, expected)).await.map(axum::Json)
}

/// A user's tokens, oldest first, without their values. One's own, or an administrator asks.
#[utoipa::path(get, path = "/v1/users/{name}/tokens", params(("name" = String, Path), Part), responses(
    (status = 200, body = Page<Token>),
    (status = 403, description = "not_yours", body = Problem),
    (status = 404, description = "user_not_found", body = Problem),
))]
pub(super) async fn tokens(
    Call { gateway, permit }: Call<Read>,
    Path(name): Path<String>,
    Query(part): Query<Part>,
) -> ApiResult<axum::Json<Page<Token>>> {
    let tokens = users::tokens(&gateway, &permit, &name).await?;
    part.of("tokens", tokens, |token| token.id.clone()).map(axum::Json)
}

/// Makes a token, and answers its value this once. For oneself, or an administrator makes it.
#[utoipa::path(post, path = "/v1/users/{name}/tokens", params(("name" = String, Path)), request_body = CreateToken,
    responses(
    (status = 201, body = CreatedToken),
    (status = 403, description = "not_yours", body = Problem),
    (status = 404, description = "user_not_found", body = Problem),
    (status = 409, description = "token_exists, too_many_tokens", body = Problem),
    (status = 422, description = "bad_expiry", body = Problem),
))]
pub(super) async fn create_token(
    Call { gateway, permit }: Call<Read>,
    Path(name): Path<String>,
    Json(create): Json<CreateToken>,
) -> ApiResult<(StatusCode, axum::Json<CreatedToken>)> {
    let created = to_the_end(users::create_token(gateway, permit, name, create)).await?;
    Ok((StatusCode::CREATED, axum::Json(created)))
}

/// Revokes a token: one's own, or an administrator does.
#[utoipa::path(delete, path = "/v1/tokens/{id}", params(("id" = String, Path)), responses(
    (status = 204, description = "It opens nothing any more"),
    (status = 403, description = "not_yours", body = Problem),
    (status = 404, description = "token_not_found", body = Problem),
))]
pub(super) async fn revoke_token(
    Call { gateway, permit }: Call<Read>,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    to_the_end(users::revoke_token(gateway, permit, id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
