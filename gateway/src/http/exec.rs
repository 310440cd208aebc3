//! Commands in a sandbox: a WebSocket of the client, bridged to the sandbox's link.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::SplitStream;
use futures_util::{SinkExt as _, StreamExt as _};
use openshell_api::Problem;
use openshell_api::sandbox::{ExecControl, ExecEnd, ExecRequest};

use super::extract::Path;
use super::sandboxes::named;
use super::supervisor::not_a_websocket;
use crate::error::{ApiResult, refuse};
use crate::gateway::Gateway;
use crate::link::Link;
use crate::link::exec::{Exec, ExecInput, Output};

const FIRST_MESSAGE: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(20);
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Runs a command in a sandbox over a WebSocket. The client's first text frame is an `ExecRequest`; then binary frames
/// carry input (an empty one ends it) and output (first byte 1: stdout, 2: stderr), and text frames carry `ExecControl`
/// and, last, `ExecEnd`. A client that goes away kills the command.
#[utoipa::path(get, path = "/v1/sandboxes/{name}/exec", params(("name" = String, Path)), responses(
    (status = 101, description = "A WebSocket", body = ExecEnd),
    (status = 404, description = "sandbox_not_found", body = Problem),
    (status = 409, description = "sandbox_not_connected", body = Problem),
))]
pub(super) async fn exec(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    let row = named(&gateway, &name).await?;
    let link = gateway.links.get(&row.id).ok_or_else(|| {
        refuse(409, "sandbox_not_connected", format!("sandbox {name} is not connected to the gateway"))
            .hint(format!("see why: `openshell sandbox logs {name}`"))
    })?;
    let upgrade = upgrade.map_err(not_a_websocket)?.max_message_size(MAX_MESSAGE);
    Ok(upgrade.on_upgrade(move |socket| bridge(link, socket)))
}

async fn bridge(link: Arc<Link>, socket: WebSocket) {
    let (mut sink, mut stream) = socket.split();
    let end = match request(&mut stream).await {
        Err(reason) => Some(ExecEnd::Failed { reason }),
        Ok(request) => match Exec::start(link, request).await {
            Err(closed) => Some(ExecEnd::Failed { reason: closed.to_string() }),
            Ok(exec) => run(exec, &mut sink, stream).await,
        },
    };
    if let Some(end) = end
        && let Ok(text) = serde_json::to_string(&end)
    {
        let _ = sink.send(Message::text(text)).await;
        let _ = sink.close().await;
    }
}

async fn request(stream: &mut SplitStream<WebSocket>) -> Result<ExecRequest, String> {
    let first = tokio::time::timeout(FIRST_MESSAGE, stream.next()).await;
    let Ok(Some(Ok(Message::Text(text)))) = first else {
        return Err("the first frame must be a text frame with the command".to_owned());
    };
    let request: ExecRequest =
        serde_json::from_str(&text).map_err(|error| format!("the request does not parse: {error}"))?;
    if request.command.first().is_none_or(String::is_empty) {
        return Err("the command is empty".to_owned());
    }
    Ok(request)
}

/// `None`: the client went away first.
async fn run(
    mut exec: Exec,
    sink: &mut futures_util::stream::SplitSink<WebSocket, Message>,
    stream: SplitStream<WebSocket>,
) -> Option<ExecEnd> {
    // Input waits for the sandbox and output for the client; neither may hold up the other.
    let mut input = tokio::spawn(pass_input(exec.input(), stream));
    let mut ping = tokio::time::interval(PING_EVERY);
    let end = loop {
        let message = tokio::select! {
            output = exec.next() => match output {
                Output::Frame(frame) => Message::Binary(frame),
                Output::End(end) => break Some(end),
            },
            _ = &mut input => break None,
            _ = ping.tick() => Message::Ping(Bytes::new()),
        };
        if sink.send(message).await.is_err() {
            break None;
        }
    };
    input.abort();
    end
}

/// Passes a client's input on until it goes away.
async fn pass_input(input: ExecInput, mut stream: SplitStream<WebSocket>) {
    while let Some(Ok(message)) = stream.next().await {
        let passed = match message {
            Message::Binary(data) => input.stdin(&data).await,
            Message::Text(text) => match serde_json::from_str::<ExecControl>(&text) {
                Ok(control) => input.control(control).await,
                Err(error) => {
                    tracing::debug!(%error, "an exec control frame does not parse");
                    return;
                }
            },
            Message::Ping(_) | Message::Pong(_) => Ok(()),
            Message::Close(_) => return,
        };
        if passed.is_err() {
            // The link's end is told with the output.
            return std::future::pending().await;
        }
    }
}
