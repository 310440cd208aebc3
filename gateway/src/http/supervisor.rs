//! Where supervisors dial in.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::HeaderMap;
use axum::response::Response;
use openshell_api::link::MAX_CHUNK;

use crate::auth::Principal;
use crate::error::{ApiError, ApiResult, refuse};
use crate::gateway::Gateway;
use crate::link;

/// Longest message of a supervisor, in bytes: a batch of records, or a chunk.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// `GET /v1/supervisor`: the link of the sandbox whose token is sent. No part of the public API.
pub(super) async fn link(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    let sandbox_id = match gateway.tokens.principal(&headers) {
        Some(Principal::Supervisor(id)) => id,
        Some(Principal::Admin) => {
            return Err(refuse(403, "forbidden", "only a supervisor's own token opens its link"));
        }
        None => return Err(ApiError::unauthorized()),
    };
    let upgrade = upgrade.map_err(not_a_websocket)?;
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE.max(2 * MAX_CHUNK));
    Ok(upgrade.on_upgrade(move |socket| link::serve(gateway, sandbox_id, socket)))
}

/// A call that must be a WebSocket and isn't.
pub(super) fn not_a_websocket(rejection: WebSocketUpgradeRejection) -> ApiError {
    refuse(400, "not_a_websocket", rejection.body_text()).hint("open a WebSocket over HTTP/1.1 (RFC 6455)")
}
