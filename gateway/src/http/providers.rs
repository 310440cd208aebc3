//! Providers: credentials that go in and never come out.

use axum::http::StatusCode;
use openshell_api::provider::{CreateProvider, Provider, RotatedKeys, UpdateProvider};
use openshell_api::{Page, Problem};

use super::call::Call;
use super::extract::{Json, Path, Query};
use super::page::{self, Part};
use super::to_the_end;
use crate::error::ApiResult;
use crate::etag::Expected;
use crate::identity::{Administer, Operate, Read};
use crate::providers;

/// Every provider, by name, without secrets.
#[utoipa::path(get, path = "/v1/providers", params(Part), responses((status = 200, body = Page<Provider>)))]
pub(super) async fn list(
    Call { gateway, .. }: Call<Read>,
    Query(part): Query<Part>,
) -> ApiResult<axum::Json<Page<Provider>>> {
    let found = gateway.store.providers_after(part.after("providers")?.as_deref(), part.limit() + 1).await?;
    Ok(axum::Json(page::page("providers", found, part.limit(), |provider| provider.name.to_string())))
}

/// One provider, without its secret.
#[utoipa::path(get, path = "/v1/providers/{name}", params(("name" = String, Path)), responses(
    (status = 200, body = Provider),
    (status = 404, description = "provider_not_found", body = Problem),
))]
pub(super) async fn get(Call { gateway, .. }: Call<Read>, Path(name): Path<String>) -> ApiResult<axum::Json<Provider>> {
    let found = gateway.store.provider(&name).await?;
    found.map(axum::Json).ok_or_else(|| providers::not_found(&name))
}

/// Stores a credential, encrypted.
#[utoipa::path(post, path = "/v1/providers", request_body = CreateProvider, responses(
    (status = 201, body = Provider),
    (status = 403, description = "forbidden", body = Problem),
    (status = 409, description = "provider_exists", body = Problem),
    (status = 422, description = "unknown_provider_type, incomplete_provider, bad_secret, bad_host, bad_path, bad_header …", body = Problem),
))]
pub(super) async fn create(
    Call { gateway, permit }: Call<Operate>,
    Json(create): Json<CreateProvider>,
) -> ApiResult<(StatusCode, axum::Json<Provider>)> {
    let provider = to_the_end(providers::create(gateway, permit, create)).await?;
    Ok((StatusCode::CREATED, axum::Json(provider)))
}

/// Changes a credential's secret or what it is bound to. Connected sandboxes have that once this answers.
#[utoipa::path(put, path = "/v1/providers/{name}", params(("name" = String, Path)), request_body = UpdateProvider, responses(
    (status = 200, body = Provider),
    (status = 403, description = "forbidden, not_yours", body = Problem),
    (status = 404, description = "provider_not_found", body = Problem),
    (status = 409, description = "not_staged: a sandbox refused, nothing changed", body = Problem),
    (status = 422, description = "bad_secret, bad_host, bad_path, bad_binary", body = Problem),
))]
pub(super) async fn update(
    Call { gateway, permit }: Call<Operate>,
    Path(name): Path<String>,
    expected: Expected,
    Json(update): Json<UpdateProvider>,
) -> ApiResult<axum::Json<Provider>> {
    to_the_end(providers::update(gateway, permit, name, update, expected)).await.map(axum::Json)
}

/// Forgets a credential. Refused while a sandbox or a backend uses it.
#[utoipa::path(delete, path = "/v1/providers/{name}", params(("name" = String, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 403, description = "forbidden, not_yours", body = Problem),
    (status = 404, description = "provider_not_found", body = Problem),
    (status = 409, description = "provider_in_use", body = Problem),
))]
pub(super) async fn delete(Call { gateway, permit }: Call<Operate>, Path(name): Path<String>) -> ApiResult<StatusCode> {
    to_the_end(providers::delete(gateway, permit, name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Turns the key that protects stored secrets; the old one opens nothing any more.
#[utoipa::path(post, path = "/v1/keys/rotate", responses(
    (status = 200, body = RotatedKeys),
    (status = 403, description = "forbidden", body = Problem),
))]
pub(super) async fn rotate(Call { gateway, permit }: Call<Administer>) -> ApiResult<axum::Json<RotatedKeys>> {
    to_the_end(providers::rotate(gateway, permit)).await.map(axum::Json)
}
