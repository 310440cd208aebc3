//! What gateways of one database ask of one another. No part of the public API.

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::HeaderMap;
use axum::response::Response;
use openshell_api::link::MAX_CHUNK;

use super::call::Open;
use super::extract::Path;
use super::supervisor::not_a_websocket;
use crate::error::{ApiError, ApiResult, refuse};
use crate::gateway::Gateway;
use crate::identity::tokens::{Shown, shown};
use crate::link::relayed;
use crate::replicas::view::Heard;

const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// `GET /internal/v1/links/{sandbox}`: the use of a link that this gateway holds.
pub(super) async fn relay(
    Open(gateway): Open,
    Path(sandbox): Path<String>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    known(&gateway, &headers)?;
    let link = gateway.links.get(&sandbox);
    let link =
        link.ok_or_else(|| refuse(409, "sandbox_not_connected", "that sandbox is not linked to this gateway"))?;
    let upgrade = upgrade.map_err(not_a_websocket)?;
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE.max(2 * MAX_CHUNK));
    let signing = gateway.signing.clone();
    Ok(upgrade.on_upgrade(move |socket| relayed::serve(link, signing, socket)))
}

/// `GET /internal/v1/keys`: which keys this gateway has, and what supervisors that are linked to it have said of them. It takes over those of now
/// first.
pub(super) async fn keys(Open(gateway): Open, headers: HeaderMap) -> ApiResult<axum::Json<Heard>> {
    known(&gateway, &headers)?;
    gateway.store.adopt().await?;
    Ok(axum::Json(gateway.heard()))
}

/// Refuses whoever is no gateway of the same database.
fn known(gateway: &Gateway, headers: &HeaderMap) -> ApiResult<()> {
    let ours = match (&gateway.replicas, shown(headers)) {
        (Some(replicas), Shown::Token(token)) => replicas.knows(token),
        _ => false,
    };
    match ours {
        true => Ok(()),
        false => Err(ApiError::unauthorized("only another gateway of the same database may ask this")),
    }
}
