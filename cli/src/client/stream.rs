//! Streams into a sandbox: the WebSocket `/v1/sandboxes/{name}/streams`.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use openshell_api::Name;
use openshell_api::stream::{StreamControl, StreamEvent, StreamRequest};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

use super::Access;
use super::rest::Chain;
use super::ws::{self, Socket};
use crate::error::Error;

/// Number of the stream that carries results; what it carries depends on the request.
pub const STDOUT: u8 = 1;
/// Number of the stream that carries messages for people.
pub const STDERR: u8 = 2;
/// Longest frame of input, in bytes.
pub const CHUNK: usize = 32 * 1024;
const ENDED_EARLY: &str = "it ended early";
/// A gateway says something at least every 20 seconds; one that is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(50);
/// How long leaving may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// The way in.
pub struct Sender(SplitSink<Socket, Message>);

/// The way out.
pub struct Receiver {
    frames: SplitStream<Socket>,
    heard: Instant,
}

/// What comes out.
#[derive(Debug)]
pub enum Incoming {
    /// Bytes of [`STDOUT`] or [`STDERR`].
    Output(u8, Bytes),
    /// Something happened; after the last one nothing comes.
    Event(StreamEvent),
}

/// Opens a stream.
pub async fn open(access: &Access, sandbox: &Name, request: &StreamRequest) -> Result<(Sender, Receiver), Error> {
    let socket = ws::connect(access, &format!("/v1/sandboxes/{sandbox}/streams")).await?;
    let (sink, stream) = socket.split();
    let mut sender = Sender(sink);
    sender.text(request).await?;
    Ok((sender, Receiver { frames: stream, heard: Instant::now() }))
}

impl Sender {
    /// Sends input; none ends it.
    pub async fn bytes(&mut self, data: Bytes) -> Result<(), Error> {
        self.0.send(Message::Binary(data)).await.map_err(|e| broken(&e))
    }

    /// Says something beside input.
    pub async fn control(&mut self, control: &StreamControl) -> Result<(), Error> {
        self.text(control).await
    }

    /// Says that everything was heard. An error changes nothing: the gateway forgets by itself, later.
    pub async fn close(&mut self) {
        let _ = self.0.close().await;
    }

    /// Leaves before the end: nothing of the stream is kept for this client (RFC 6455, code 1000).
    pub async fn leave(&mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        let _ = tokio::time::timeout(FAREWELL, self.0.send(Message::Close(Some(frame)))).await;
    }

    async fn text(&mut self, message: &impl serde::Serialize) -> Result<(), Error> {
        let text = serde_json::to_string(message).map_err(|e| broken(&e))?;
        self.0.send(Message::text(text)).await.map_err(|e| broken(&e))
    }
}

impl Receiver {
    /// The next thing that comes out. A connection that ends before the stream does is an error.
    pub async fn next(&mut self) -> Result<Incoming, Error> {
        loop {
            let message = tokio::time::timeout_at(self.heard + SILENCE, self.frames.next()).await;
            let silent = || Error::ExecBroken { reason: format!("nothing came for {} s", SILENCE.as_secs()) };
            let message = message.map_err(|_| silent())?;
            self.heard = Instant::now();
            match message {
                None => return Err(Error::ExecBroken { reason: ENDED_EARLY.into() }),
                Some(Err(error)) => return Err(broken(&error)),
                Some(Ok(Message::Binary(mut frame))) => {
                    if !frame.is_empty() {
                        let stream = frame.split_to(1)[0];
                        return Ok(Incoming::Output(stream, frame));
                    }
                }
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(text.as_str()).map(Incoming::Event).map_err(|e| broken(&e));
                }
                Some(Ok(Message::Close(frame))) => {
                    let reason = frame.map(|f| f.reason.to_string()).filter(|r| !r.is_empty());
                    return Err(Error::ExecBroken { reason: reason.unwrap_or_else(|| "the gateway closed it".into()) });
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            }
        }
    }
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Error {
    let reason = if ended_early(error) { ENDED_EARLY.into() } else { Chain(error).to_string() };
    Error::ExecBroken { reason }
}

/// Whether the peer went away without a word of the protocol.
fn ended_early(error: &(dyn std::error::Error + 'static)) -> bool {
    let unexpected_end = |io: &std::io::Error| io.kind() == std::io::ErrorKind::UnexpectedEof;
    match error.downcast_ref() {
        Some(tungstenite::Error::Io(io)) => unexpected_end(io),
        Some(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => true,
        _ => false,
    }
}
