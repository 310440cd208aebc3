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
use crate::identity::tokens::{Shown, shown};
use crate::link::relayed;

const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// `GET /internal/v1/links/{sandbox}`: the use of a link that this gateway holds.
pub(super) async fn relay(
    Open(gateway): Open,
    Path(sandbox): Path<String>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    let ours = match (&gateway.replicas, shown(&headers)) {
        (Some(replicas), Shown::Token(token)) => replicas.knows(token),
        _ => false,
    };
    if !ours {
        return Err(ApiError::unauthorized("only another gateway of the same database may ask this"));
    }
    let link = gateway.links.get(&sandbox);
    let link =
        link.ok_or_else(|| refuse(409, "sandbox_not_connected", "that sandbox is not linked to this gateway"))?;
    let upgrade = upgrade.map_err(not_a_websocket)?;
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE.max(2 * MAX_CHUNK));
    Ok(upgrade.on_upgrade(move |socket| relayed::serve(link, socket)))
}
