//! Publishers whose modules are taken.

use axum::http::StatusCode;
use openshell_api::signature::{AddPublisher, AddedPublisher, Publisher};
use openshell_api::{Page, Problem};
use serde::Deserialize;

use super::call::Call;
use super::extract::{Json, Path, Query};
use super::page::Part;
use super::to_the_end;
use crate::error::{ApiError, ApiResult, refuse};
use crate::gateway::Gateway;
use crate::identity::{Administer, Read};

/// Trusted publishers, by name; none: modules need no signature.
#[utoipa::path(get, path = "/v1/publishers", params(Part), responses((status = 200, body = Page<Publisher>)))]
pub(super) async fn list(
    Call { gateway, .. }: Call<Read>,
    Query(part): Query<Part>,
) -> ApiResult<axum::Json<Page<Publisher>>> {
    let publishers = gateway.store.publishers().await?;
    part.of("publishers", publishers, |publisher| publisher.name.to_string()).map(axum::Json)
}

/// Trusts a publisher. From the first one on, modules are taken and bound only if a trusted publisher signed them.
#[utoipa::path(post, path = "/v1/publishers", request_body = AddPublisher, responses(
    (status = 201, body = AddedPublisher),
    (status = 409, description = "publisher_exists", body = Problem),
    (status = 400, description = "bad_request: no Ed25519 public key", body = Problem),
))]
pub(super) async fn add(
    Call { gateway, permit }: Call<Administer>,
    Json(add): Json<AddPublisher>,
) -> ApiResult<(StatusCode, axum::Json<AddedPublisher>)> {
    let added = to_the_end(async move {
        let _alone = gateway.locks.alone().await?;
        let publisher = Publisher { name: add.name, key: add.key, added_at: jiff::Timestamp::now() };
        gateway.store.insert_publisher(&publisher, &permit.change(&publisher.name).after(&publisher)).await?;
        let unsigned_in_force = unsigned_in_force(&gateway).await?;
        Ok(AddedPublisher { publisher, unsigned_in_force })
    });
    Ok((StatusCode::CREATED, axum::Json(added.await?)))
}

/// Bindings that would be refused now. What is in force stays so.
async fn unsigned_in_force(gateway: &Gateway) -> ApiResult<Vec<String>> {
    let mut found = Vec::new();
    for row in gateway.store.sandboxes().await? {
        let Some(newest) = gateway.store.newest_generation(&row.id).await? else { continue };
        for binding in newest.content.bindings() {
            let Some(mut module) = gateway.store.module(&binding.module).await? else { continue };
            module.version.clone_from(&binding.version);
            if gateway.modules.vouched(&gateway.store, &module).await.is_err() {
                found.push(format!("{}: {}@{}", row.name, binding.name, binding.version));
            }
        }
    }
    Ok(found)
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Remove {
    /// Take modules without a signature again, if this was the last publisher.
    #[serde(default)]
    allow_unsigned: bool,
}

/// Trusts a publisher no longer. What it signed and is in force stays so until it is replaced.
#[utoipa::path(delete, path = "/v1/publishers/{name}", params(("name" = String, Path), Remove), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "publisher_not_found", body = Problem),
    (status = 409, description = "last_publisher: modules would need no signature any more", body = Problem),
))]
pub(super) async fn remove(
    Call { gateway, permit }: Call<Administer>,
    Path(name): Path<String>,
    Query(remove): Query<Remove>,
) -> ApiResult<StatusCode> {
    to_the_end(async move {
        let _alone = gateway.locks.alone().await?;
        let known = gateway.store.publishers().await?;
        if known.len() == 1 && known[0].name.as_str() == name && !remove.allow_unsigned {
            return Err(refuse(
                409,
                "last_publisher",
                format!("{name} is the last publisher: without it, modules need no signature"),
            )
            .hint("add another one first, or say that unsigned modules are taken again: --allow-unsigned"));
        }
        let before = known.iter().find(|publisher| publisher.name.as_str() == name);
        match gateway.store.delete_publisher(&name, &permit.change(&name).before(before)).await? {
            true => Ok(StatusCode::NO_CONTENT),
            false => Err(ApiError::not_found("publisher", &name).hint("`openshell gateway trust list` shows them")),
        }
    })
    .await
}
