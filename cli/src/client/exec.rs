//! Running a command in a sandbox: the WebSocket `/v1/sandboxes/{name}/exec`.

use std::io::Write as _;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use openshell_api::Name;
use openshell_api::sandbox::{ExecControl, ExecEnd, ExecRequest, WindowSize};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{self, Message};

use super::Access;
use super::rest::Chain;
use super::ws::{self, Socket};
use crate::error::Error;
use crate::sys;

const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ENDED_EARLY: &str = "it ended early";

/// Runs a command and connects it with this process's standard streams; its exit code is the answer. Standard input
/// ends the command's input when it ends; SIGINT and SIGTERM are passed on.
pub async fn run(access: &Access, sandbox: &Name, request: ExecRequest) -> Result<i32, Error> {
    let program = request.command.first().cloned().unwrap_or_default();
    let tty = request.tty;
    // Before anything runs: from its first word on, the command gets the signals.
    let signals = Signals::listen();
    let mut socket = ws::connect(access, &format!("/v1/sandboxes/{sandbox}/exec")).await?;
    let opening = serde_json::to_string(&request).map_err(|e| broken(&e))?;
    socket.send(Message::text(opening)).await.map_err(|e| broken(&e))?;
    let end = {
        let _mode = match tty {
            Some(_) => Some(sys::TerminalMode::raw().map_err(|_| Error::NotATerminal)?),
            None => None,
        };
        let (sink, stream) = socket.split();
        // Input goes on by itself, and is dropped once the output has ended: it may wait for a key for ever.
        let input = tokio::spawn(send_input(sink, tty, signals));
        let end = receive_output(stream).await;
        input.abort();
        end?
    };
    match end {
        ExecEnd::Exited { code } => Ok(code),
        ExecEnd::Failed { reason } => Err(Error::Exec { sandbox: sandbox.to_string(), program, reason }),
    }
}

/// Sends standard input, the terminal's size and signals until the connection closes.
async fn send_input(mut sink: SplitSink<Socket, Message>, tty: Option<WindowSize>, mut signals: Signals) {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 32 * 1024];
    let mut open = true;
    let mut size = tty;
    loop {
        let message = tokio::select! {
            read = stdin.read(&mut buffer), if open => {
                let count = read.unwrap_or(0);
                open = count > 0;
                Some(Message::Binary(Bytes::copy_from_slice(&buffer[..count])))
            }
            () = arrived(&mut signals.resized), if tty.is_some() => {
                let now = sys::window_size();
                let changed = now.filter(|_| now != size);
                size = now.or(size);
                changed.and_then(|size| control(&ExecControl::Resize(size)))
            }
            () = arrived(&mut signals.interrupted) => control(&ExecControl::Signal { signal: nix::libc::SIGINT }),
            () = arrived(&mut signals.terminated) => control(&ExecControl::Signal { signal: nix::libc::SIGTERM }),
        };
        if let Some(message) = message
            && sink.send(message).await.is_err()
        {
            // The receiving half reports how the connection ended.
            return;
        }
    }
}

/// The signals that concern a running command; one that can't be listened for never arrives.
struct Signals {
    resized: Option<Signal>,
    interrupted: Option<Signal>,
    terminated: Option<Signal>,
}

impl Signals {
    fn listen() -> Self {
        Self {
            resized: signal(SignalKind::window_change()).ok(),
            interrupted: signal(SignalKind::interrupt()).ok(),
            terminated: signal(SignalKind::terminate()).ok(),
        }
    }
}

/// The next arrival of a signal; never, if it can't be listened for.
async fn arrived(signal: &mut Option<Signal>) {
    let arrived = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if arrived.is_none() {
        std::future::pending().await
    }
}

fn control(control: &ExecControl) -> Option<Message> {
    serde_json::to_string(control).ok().map(Message::text)
}

/// Writes output until the command ends. A connection that closes before that is an error.
async fn receive_output(mut stream: SplitStream<Socket>) -> Result<ExecEnd, Error> {
    while let Some(message) = stream.next().await {
        match message.map_err(|e| broken(&e))? {
            Message::Binary(frame) => write_output(&frame)?,
            Message::Text(text) => return serde_json::from_str(text.as_str()).map_err(|e| broken(&e)),
            Message::Close(frame) => {
                let reason = frame.map(|f| f.reason.to_string()).filter(|r| !r.is_empty());
                return Err(Error::ExecBroken { reason: reason.unwrap_or_else(|| "the gateway closed it".into()) });
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    Err(Error::ExecBroken { reason: ENDED_EARLY.into() })
}

fn write_output(frame: &[u8]) -> Result<(), Error> {
    match frame.split_first() {
        Some((&STDOUT, data)) => {
            let mut out = std::io::stdout().lock();
            out.write_all(data).and_then(|()| out.flush()).map_err(Error::io("write to standard output"))
        }
        Some((&STDERR, data)) => std::io::stderr().write_all(data).map_err(Error::io("write to standard error")),
        Some((stream, _)) => Err(Error::ExecBroken { reason: format!("output on unknown stream {stream}") }),
        None => Ok(()),
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
