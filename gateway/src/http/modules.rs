//! Modules.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use openshell_api::module::Module;
use openshell_api::signature::{ModuleSignature, SIGNATURE_HEADER};
use openshell_api::{Name, Page, Problem};
use serde::Deserialize;

use super::call::Call;
use super::extract::{Path, Query};
use super::page::{self, Part};
use super::to_the_end;
use crate::error::{ApiError, ApiResult, refuse};
use crate::gateway::Gateway;
use crate::identity::{Operate, Read};
use crate::modules::Registration;

/// Longest component that is taken, in bytes.
const MAX_MODULE: u64 = 64 * 1024 * 1024;
/// A refused upload is read and thrown away for so long, so that its sender gets to see the refusal.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Upload {
    /// Name its author gave it.
    name: String,
    /// Version its author gave it.
    version: String,
    /// Let this version mean these bytes from now on, whatever it meant before. Sandboxes that bind the old bytes keep
    /// them until the next push.
    #[serde(default)]
    replace: bool,
}

/// Stores a module: a WebAssembly component that exports hooks of `openshell:policy`. Storing the same again changes
/// nothing. A publisher's signature comes in the header `x-openshell-signature`, as JSON (`ModuleSignature`).
#[utoipa::path(post, path = "/v1/modules", params(Upload),
    request_body(content = Vec<u8>, content_type = "application/wasm"), responses(
    (status = 200, body = Module),
    (status = 403, description = "forbidden; not_yours: another user's modules have that name", body = Problem),
    (status = 409, description = "version_exists: that version means other bytes", body = Problem),
    (status = 413, description = "too_large: more than 64 MiB", body = Problem),
    (status = 422, description = "not_wasm, core_module, invalid_wasm, unknown_contract, forbidden_import, no_hook; bad_signature, \
        untrusted_publisher, unsigned_module …", body = Problem),
    (status = 503, description = "bucket_unavailable, bucket_refused, put_given_up: nothing was stored", body = Problem),
))]
pub(super) async fn upload(
    Call { gateway, permit }: Call<Operate>,
    Query(upload): Query<Upload>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Json<Module>> {
    let name = Name::parse(&upload.name).map_err(|error| refuse(422, "bad_name", error.to_string()))?;
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if let Some(length) = declared.filter(|length| *length > MAX_MODULE) {
        drain(body);
        return Err(too_large(Some(length)));
    }
    let signature = headers.get(SIGNATURE_HEADER).map(|value| ModuleSignature::parse(value.as_bytes())).transpose()?;
    let bytes = read(body).await?;
    let registration = Registration::new(upload.replace, signature);
    let module = to_the_end(async move {
        gateway.modules.upload(&gateway.store, &permit, name, &upload.version, bytes, registration).await
    });
    module.await.map(Json)
}

async fn read(body: Body) -> ApiResult<Bytes> {
    match Limited::new(body, MAX_MODULE as usize).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(None)),
        Err(error) => Err(refuse(400, "upload_broken", format!("the upload ended early: {error}"))),
    }
}

fn too_large(found: Option<u64>) -> ApiError {
    let found = found.map_or_else(|| "more bytes".to_owned(), |found| format!("{found} bytes"));
    refuse(413, "too_large", format!("the module has {found}; the limit is {MAX_MODULE}"))
        .hint("a policy has a few hundred KiB: build it in release mode and strip it, as `openshell policy build` does")
}

fn drain(mut body: Body) {
    tokio::spawn(tokio::time::timeout(DRAIN, async move { while let Some(Ok(_)) = body.frame().await {} }));
}

/// Every stored module, newest first.
#[utoipa::path(get, path = "/v1/modules", params(Part), responses((status = 200, body = Page<Module>)))]
pub(super) async fn list(Call { gateway, .. }: Call<Read>, Query(part): Query<Part>) -> ApiResult<Json<Page<Module>>> {
    let after = part.after("modules")?;
    let after = after.as_deref().map(|key| key.split_once(' ').unwrap_or((key, "")));
    let found = gateway.store.modules_after(after, part.limit() + 1).await?;
    let key = |module: &Module| format!("{} {}", module.created_at, module.digest);
    Ok(Json(page::page("modules", found, part.limit(), key)))
}

/// A module's component, by digest or as `name@version`.
#[utoipa::path(get, path = "/v1/modules/{module}/component",
    params(("module" = String, Path, description = "`sha256:<hex>` or `name@version`")), responses(
    (status = 200, body = Vec<u8>, content_type = "application/wasm"),
    (status = 404, description = "module_not_found", body = Problem),
    (status = 500, description = "module_damaged, module_missing: it is not what was stored, or gone", body = Problem),
    (status = 503, description = "bucket_unavailable, bucket_refused, module_elsewhere", body = Problem),
))]
pub(super) async fn component(
    Call { gateway, .. }: Call<Read>,
    Path(module): Path<String>,
) -> ApiResult<impl axum::response::IntoResponse> {
    let found = find(&gateway, &module).await?;
    let bytes = gateway.modules.homes().read(&gateway.store, &found.digest).await?;
    Ok(([(axum::http::header::CONTENT_TYPE, "application/wasm")], bytes))
}

/// One module, by digest or as `name@version`.
#[utoipa::path(get, path = "/v1/modules/{module}", params(("module" = String, Path, description = "`sha256:<hex>` or `name@version`")),
    responses((status = 200, body = Module), (status = 404, description = "module_not_found", body = Problem)))]
pub(super) async fn get(Call { gateway, .. }: Call<Read>, Path(module): Path<String>) -> ApiResult<Json<Module>> {
    find(&gateway, &module).await.map(Json)
}

async fn find(gateway: &Gateway, module: &str) -> ApiResult<Module> {
    let digest = match module.split_once('@') {
        Some((name, version)) => gateway.store.module_version(name, version).await?,
        None => Some(module.to_owned()),
    };
    let found = match digest {
        Some(digest) => gateway.store.module(&digest).await?,
        None => None,
    };
    found.ok_or_else(|| ApiError::not_found("module", module))
}
