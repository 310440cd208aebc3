//! Where decisions are sent as they come.

use axum::http::StatusCode;
use openshell_api::export::{AddExport, ExportState};
use openshell_api::{Page, Problem};

use super::call::Call;
use super::extract::{Json, Path, Query};
use super::page::Part;
use super::to_the_end;
use crate::error::{ApiError, ApiResult};
use crate::exports;
use crate::gateway::Gateway;
use crate::identity::{Administer, Read};

/// Every export, by name, and how it stands.
#[utoipa::path(get, path = "/v1/exports", params(Part), responses((status = 200, body = Page<ExportState>)))]
pub(super) async fn list(
    Call { gateway, .. }: Call<Read>,
    Query(part): Query<Part>,
) -> ApiResult<axum::Json<Page<ExportState>>> {
    let exports = gateway.store.exports().await?;
    part.of("exports", exports, |state| state.export.name.to_string()).map(axum::Json)
}

/// One export, and how it stands.
#[utoipa::path(get, path = "/v1/exports/{name}", params(("name" = String, Path)), responses(
    (status = 200, body = ExportState),
    (status = 404, description = "export_not_found", body = Problem),
))]
pub(super) async fn get(
    Call { gateway, .. }: Call<Read>,
    Path(name): Path<String>,
) -> ApiResult<axum::Json<ExportState>> {
    named(&gateway, &name).await.map(axum::Json)
}

async fn named(gateway: &Gateway, name: &str) -> ApiResult<ExportState> {
    let found = gateway.store.export(name).await?;
    found.ok_or_else(|| ApiError::not_found("export", name).hint("`openshell export list` shows them"))
}

/// Sends decisions somewhere from now on, each at least once.
#[utoipa::path(post, path = "/v1/exports", request_body = AddExport, responses(
    (status = 201, body = ExportState),
    (status = 409, description = "export_exists", body = Problem),
    (status = 422, description = "bad_url; provider_not_found; bad_provider: its credential can't be sent there", body = Problem),
))]
pub(super) async fn add(
    Call { gateway, permit }: Call<Administer>,
    Json(AddExport { export, from_beginning }): Json<AddExport>,
) -> ApiResult<(StatusCode, axum::Json<ExportState>)> {
    let added = to_the_end(async move {
        let _shared = gateway.locks.shared().await?;
        exports::check(&gateway, &export).await?;
        let change = permit.change(&export.name).after(&export);
        gateway.store.insert_export(&export, from_beginning, &change).await?;
        named(&gateway, export.name.as_str()).await
    });
    Ok((StatusCode::CREATED, axum::Json(added.await?)))
}

/// Sends nothing there any more. What waits stays among the decisions of the gateway.
#[utoipa::path(delete, path = "/v1/exports/{name}", params(("name" = String, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "export_not_found", body = Problem),
))]
pub(super) async fn remove(
    Call { gateway, permit }: Call<Administer>,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    to_the_end(async move {
        let _alone = gateway.locks.alone().await?;
        let before = named(&gateway, &name).await?.export;
        gateway.store.delete_export(&name, &permit.change(&name).before(&before)).await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}
