//! Is it there, is it well, what is it?

use axum::Json;
use openshell_api::Problem;
use openshell_api::status::{BucketStatus, Status};

use super::call::{Call, Open};
use crate::error::{ApiResult, refuse};
use crate::identity::Read;
use crate::store::StoreError;

/// Answers as long as the process serves.
#[utoipa::path(get, path = "/healthz", security(()), responses((status = 200, body = String, content_type = "text/plain", description = "It serves")))]
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// Answers well while the database does. Says so if the bucket with modules does not: only pushes of new policies need it.
#[utoipa::path(get, path = "/readyz", security(()), responses(
    (status = 200, body = String, content_type = "text/plain", description = "It can answer calls"),
    (status = 503, description = "Its database does not answer", body = Problem),
))]
pub(super) async fn ready(Open(gateway): Open) -> ApiResult<&'static str> {
    match gateway.store.ping().await {
        Ok(()) => match gateway.modules.homes().bucket().and_then(|bucket| bucket.trouble()) {
            None => Ok("ok\n"),
            Some(_) => Ok("ok, but the bucket with modules is of no use: new policies can't be pushed\n"),
        },
        Err(error @ StoreError::Unavailable(_)) => Err(error.into()),
        Err(error) => Err(refuse(503, "not_ready", error.to_string())),
    }
}

/// Counts and states, in Prometheus's text format. Asks for a token: names of sandboxes and backends are in it.
#[utoipa::path(get, path = "/metrics", responses(
    (status = 200, body = String, content_type = "text/plain", description = "Text format, version 0.0.4"),
))]
pub(super) async fn metrics(Call { gateway, .. }: Call<Read>) -> ApiResult<impl axum::response::IntoResponse> {
    let text = crate::metrics::render(&gateway).await?;
    Ok(([(axum::http::header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", security(()), responses((status = 200, body = serde_json::Value, description = "OpenAPI document")))]
pub(super) async fn openapi() -> Json<serde_json::Value> {
    Json(super::document())
}

/// Version, uptime and counts.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = Status)))]
pub(super) async fn status(Call { gateway, .. }: Call<Read>) -> ApiResult<Json<Status>> {
    let bucket = gateway.modules.homes().bucket();
    let bucket = bucket.map(|bucket| BucketStatus { place: bucket.place(), problem: bucket.trouble() });
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: gateway.started.elapsed().as_secs(),
        sandboxes: gateway.store.count_sandboxes().await?,
        connected: gateway.count_links().await?,
        modules: gateway.store.count_modules().await?,
        bucket,
        decisions: gateway.store.count_decisions().await?,
        runtimes: gateway.runtime.available().await,
    }))
}
