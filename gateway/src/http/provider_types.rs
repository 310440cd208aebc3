//! Types of providers: what is usual for the credential of each.

use axum::http::StatusCode;
use openshell_api::provider::ProviderType;
use openshell_api::{Page, Problem};

use super::call::Call;
use super::extract::{Json, Path, Query};
use super::page::Part;
use super::to_the_end;
use crate::error::{ApiResult, refuse};
use crate::etag::Expected;
use crate::identity::{Administer, Read};
use crate::providers::types;

/// Every type, built in or of this gateway's own, by name.
#[utoipa::path(get, path = "/v1/provider-types", params(Part), responses((status = 200, body = Page<ProviderType>)))]
pub(super) async fn list(
    Call { gateway, .. }: Call<Read>,
    Query(part): Query<Part>,
) -> ApiResult<axum::Json<Page<ProviderType>>> {
    let kinds = types::all(&gateway).await?.into_vec();
    part.of("provider-types", kinds, |kind| kind.name.to_string()).map(axum::Json)
}

/// One type.
#[utoipa::path(get, path = "/v1/provider-types/{name}", params(("name" = String, Path)), responses(
    (status = 200, body = ProviderType),
    (status = 404, description = "provider_type_not_found", body = Problem),
))]
pub(super) async fn get(
    Call { gateway, .. }: Call<Read>,
    Path(name): Path<String>,
) -> ApiResult<axum::Json<ProviderType>> {
    types::one(&gateway, &name).await.map(axum::Json)
}

/// Adds a type, or replaces one. Providers that there are stay as they are.
#[utoipa::path(put, path = "/v1/provider-types/{name}", params(("name" = String, Path)), request_body = ProviderType, responses(
    (status = 200, body = ProviderType),
    (status = 409, description = "too_many_types", body = Problem),
    (status = 422, description = "built_in, other_name, bad_host, bad_path, bad_header, bad_env, bad_prefix", body = Problem),
))]
pub(super) async fn set(
    Call { gateway, permit }: Call<Administer>,
    Path(name): Path<String>,
    expected: Expected,
    Json(kind): Json<ProviderType>,
) -> ApiResult<axum::Json<ProviderType>> {
    if kind.name.as_str() != name {
        return Err(refuse(422, "other_name", format!("the body names type {}, the path {name}", kind.name))
            .hint("a type keeps its name; add another one and delete this one"));
    }
    to_the_end(types::set(gateway, permit, kind, expected)).await.map(axum::Json)
}

/// Forgets a type. Refused while a provider is of it.
#[utoipa::path(delete, path = "/v1/provider-types/{name}", params(("name" = String, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "provider_type_not_found: or it is built in", body = Problem),
    (status = 409, description = "provider_type_in_use", body = Problem),
))]
pub(super) async fn delete(
    Call { gateway, permit }: Call<Administer>,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    to_the_end(types::delete(gateway, permit, name)).await.map(|()| StatusCode::NO_CONTENT)
}
