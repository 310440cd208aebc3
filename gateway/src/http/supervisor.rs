//! Where supervisors dial in.

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::Response;
use openshell_api::link::{MAX_CHUNK, READ_BUFFER};

use super::call::SupervisorCall;
use crate::error::{ApiError, ApiResult, refuse};
use crate::identity::supervisors;
use crate::link;

/// Longest message of a supervisor, in bytes: a batch of records, or a chunk.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// `GET /v1/supervisor`: the link of the sandbox whose credential is sent. No part of the public API.
pub(super) async fn link(
    SupervisorCall { gateway, key }: SupervisorCall,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    let upgrade = upgrade.map_err(not_a_websocket)?;
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE.max(2 * MAX_CHUNK));
    let upgrade = upgrade.read_buffer_size(READ_BUFFER).write_buffer_size(0);
    if !supervisors::admit(&gateway, &key).await? {
        return Err(ApiError::unauthorized("this credential was used up before: somebody has a copy of it"));
    }
    Ok(upgrade.on_upgrade(move |socket| link::serve(gateway, key, socket)))
}

/// A call that must be a WebSocket and isn't.
pub(super) fn not_a_websocket(rejection: WebSocketUpgradeRejection) -> ApiError {
    refuse(400, "not_a_websocket", rejection.body_text()).hint("open a WebSocket over HTTP/1.1 (RFC 6455)")
}
