//! Streams into a sandbox: a WebSocket of the client, bridged to the sandbox's link.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use openshell_api::Problem;
use openshell_api::sandbox::Phase;
use openshell_api::stream::{StreamControl, StreamEvent, StreamRequest};
use serde_json::json;

use super::call::Call;
use super::extract::Path;
use super::sandboxes::named;
use super::supervisor::not_a_websocket;
use crate::audit::Change;
use crate::error::{ApiError, ApiResult, refuse};
use crate::gateway::Gateway;
use crate::identity::Operate;
use crate::link::Link;
use crate::link::streams::{Output, Stream, StreamInput};
use crate::store::SandboxRow;

const FIRST_MESSAGE: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long a sandbox that runs may take to find the gateway again.
const RETURN: Duration = Duration::from_secs(10);
/// Between two looks for it.
const AGAIN: Duration = Duration::from_millis(100);
/// How long a client that was told the end may take to close its side.
const FAREWELL: Duration = Duration::from_secs(5);
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Opens a stream into a sandbox over a WebSocket: a command, files, a port. The client's first text frame is a
/// `StreamRequest`; then binary frames carry input (an empty one ends it) and output (first byte 1: stdout, 2: stderr),
/// and text frames carry `StreamControl` and `StreamEvent`. A client that goes away ends a stream that is not resumable.
#[utoipa::path(get, path = "/v1/sandboxes/{name}/streams", params(("name" = String, Path)), responses(
    (status = 101, description = "A WebSocket; the first frame is a StreamRequest", body = StreamEvent),
    (status = 404, description = "sandbox_not_found", body = Problem),
    (status = 409, description = "sandbox_not_connected, sandbox_stopped, sandbox_lost", body = Problem),
))]
pub(super) async fn open(
    Call { gateway, permit }: Call<Operate>,
    Path(name): Path<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    let row = named(&gateway, &name).await?;
    permit.owns(&row)?;
    let link = linked(&gateway, &row).await?.ok_or_else(|| not_connected(&gateway, &row))?;
    let upgrade = upgrade.map_err(not_a_websocket)?.max_message_size(MAX_MESSAGE);
    let change = permit.change(&row.name);
    Ok(upgrade.on_upgrade(move |socket| bridge(gateway, link, change, socket)))
}

/// A sandbox's link. One that runs is waited for: a gateway that has just begun anew is found again by its sandboxes.
async fn linked(gateway: &Gateway, row: &SandboxRow) -> ApiResult<Option<Arc<Link>>> {
    let deadline = Instant::now() + RETURN;
    loop {
        let link = gateway.link(&row.id).await?;
        let comes = row.phase == Phase::Running && !gateway.is_lost(row) && Instant::now() < deadline;
        if link.is_some() || !comes {
            return Ok(link);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Why nothing can run in a sandbox now.
fn not_connected(gateway: &Gateway, row: &SandboxRow) -> ApiError {
    let name = &row.name;
    if gateway.is_lost(row) {
        return refuse(
            409,
            "sandbox_lost",
            match gateway.runtime.node(row).filter(|node| node.gone) {
                Some(node) => {
                    format!("sandbox {name} is lost: its node {} of the runtime {} is down", node.name, row.runtime)
                }
                None => format!("sandbox {name} is lost: its runtime {} does not answer", row.runtime),
            },
        )
        .hint(format!("`openshell sandbox start {name} --elsewhere` starts it on another machine, without its files"));
    }
    if row.phase == Phase::Stopped {
        return refuse(409, "sandbox_stopped", format!("sandbox {name} is stopped"))
            .hint(format!("start it: `openshell sandbox start {name}`"));
    }
    refuse(409, "sandbox_not_connected", format!("sandbox {name} is not connected to the gateway"))
        .hint(format!("see why: `openshell sandbox logs {name}`"))
}

async fn bridge(gateway: Arc<Gateway>, link: Arc<Link>, change: Change, socket: WebSocket) {
    let (mut sink, mut frames) = socket.split();
    let opened = match request(&mut frames).await {
        // What nobody could write down is not done.
        Ok(request) => match gateway.store.tell(&change.detail(told(&request))).await {
            Ok(()) => {
                let again = matches!(request, StreamRequest::Resume { .. });
                Stream::open(link, request).await.map_err(|closed| match again {
                    // What goes on in the sandbox is there for the next attempt.
                    true => End::Lost,
                    false => End::failed(closed),
                })
            }
            Err(error) => Err(End::failed(error)),
        },
        Err(reason) => Err(End::failed(reason)),
    };
    let (stream, end) = match opened {
        Ok(mut stream) => {
            let end = run(&mut stream, &mut sink, &mut frames).await;
            (Some(stream), end)
        }
        Err(end) => (None, end),
    };
    if let End::Said(end) = &end
        && let Ok(text) = serde_json::to_string(end)
    {
        let _ = sink.send(Message::text(text)).await;
    }
    match end {
        End::ClientGone => return,
        End::ClientLeft => {
            if let Some(stream) = stream {
                stream.done();
            }
            return;
        }
        End::Said(_) | End::Lost => {}
    }
    let _ = sink.close().await;
    // What the client still sends is read and dropped: closing over unread bytes resets the connection, and a reset
    // overtakes the last frames. Its own close says that it has them.
    let closed = async {
        while let Some(Ok(message)) = frames.next().await {
            if matches!(message, Message::Close(_)) {
                return true;
            }
        }
        false
    };
    let heard = tokio::time::timeout(FAREWELL, closed).await.unwrap_or(false);
    if let Some(stream) = stream
        && heard
        && matches!(end, End::Said(_))
    {
        stream.done();
    }
}

/// What the audit trail is told of a stream. Arguments may hold secrets, so of a command it is told the program alone.
fn told(request: &StreamRequest) -> serde_json::Value {
    match request {
        StreamRequest::Exec { exec, .. } => json!({ "kind": "exec", "program": exec.command.first() }),
        StreamRequest::Resume { session, .. } => json!({ "kind": "resume", "session": session }),
        StreamRequest::Upload { path } => json!({ "kind": "upload", "path": path }),
        StreamRequest::Download { path } => json!({ "kind": "download", "path": path }),
        StreamRequest::Forward { port } => json!({ "kind": "forward", "port": port }),
        StreamRequest::Sftp => json!({ "kind": "sftp" }),
    }
}

/// How the bridge ended.
enum End {
    /// The stream did.
    Said(StreamEvent),
    /// The sandbox's link did, and the stream may live on.
    Lost,
    /// The client went away first.
    ClientGone,
    /// The client left, and does not come back.
    ClientLeft,
}

impl End {
    fn failed(reason: impl std::fmt::Display) -> Self {
        Self::Said(StreamEvent::Failed { reason: reason.to_string() })
    }
}

async fn request(frames: &mut SplitStream<WebSocket>) -> Result<StreamRequest, String> {
    let first = tokio::time::timeout(FIRST_MESSAGE, frames.next()).await;
    let Ok(Some(Ok(Message::Text(text)))) = first else {
        return Err("the first frame must be a text frame with the request".to_owned());
    };
    let request: StreamRequest =
        serde_json::from_str(&text).map_err(|error| format!("the request does not parse: {error}"))?;
    match &request {
        StreamRequest::Exec { exec, .. } if exec.command.first().is_none_or(String::is_empty) => {
            Err("the command is empty".to_owned())
        }
        _ => Ok(request),
    }
}

async fn run(
    stream: &mut Stream,
    sink: &mut SplitSink<WebSocket, Message>,
    frames: &mut SplitStream<WebSocket>,
) -> End {
    // Input waits for the sandbox and output for the client; neither holds up the other.
    let input = pass_input(stream.input(), frames);
    tokio::select! {
        end = pass_output(stream, sink) => end,
        end = input => end,
    }
}

async fn pass_output(stream: &mut Stream, sink: &mut SplitSink<WebSocket, Message>) -> End {
    let mut ping = tokio::time::interval(PING_EVERY);
    loop {
        let message = tokio::select! {
            output = stream.next() => match output {
                Output::Frame(frame) => Message::Binary(frame),
                Output::Event(event) if event.is_last() => return End::Said(event),
                Output::Event(event) => match serde_json::to_string(&event) {
                    Ok(text) => Message::text(text),
                    Err(error) => return End::Said(StreamEvent::Failed { reason: error.to_string() }),
                },
                Output::Lost => return End::Lost,
            },
            _ = ping.tick() => Message::Ping(Bytes::new()),
        };
        if sink.send(message).await.is_err() {
            return End::ClientGone;
        }
    }
}

/// Passes a client's input on until it goes away.
async fn pass_input(input: StreamInput, frames: &mut SplitStream<WebSocket>) -> End {
    while let Some(Ok(message)) = frames.next().await {
        let passed = match message {
            Message::Binary(data) => input.bytes(&data).await,
            Message::Text(text) => match serde_json::from_str::<StreamControl>(&text) {
                Ok(control) => input.control(control).await,
                Err(error) => {
                    tracing::debug!(%error, "a control frame of a stream does not parse");
                    return End::ClientGone;
                }
            },
            Message::Ping(_) | Message::Pong(_) => Ok(()),
            // Proxies on the way close with other codes (RFC 6455, section 7.4.1).
            Message::Close(Some(frame)) if frame.code == close_code::NORMAL => return End::ClientLeft,
            Message::Close(_) => return End::ClientGone,
        };
        if passed.is_err() {
            // The link's end is told with the output.
            return std::future::pending().await;
        }
    }
    End::ClientGone
}
