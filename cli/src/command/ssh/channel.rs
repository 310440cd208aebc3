//! One channel of an SSH client's, and the stream it is.

use std::sync::Arc;

use bytes::Bytes;
use nix::sys::signal::Signal;
use openshell_api::Name;
use openshell_api::stream::{StreamControl, StreamEvent, StreamRequest};
use russh::server::{Handle, Msg};
use russh::{ChannelWriteHalf, Sig};
use tokio::sync::mpsc;

use super::backlog::Backlog;
use crate::client::Access;
use crate::client::forward::KNOWS_HALF_CLOSED;
use crate::client::stream::{self, CHUNK, Incoming, Receiver, STDERR, STDOUT, Sender};
use crate::error::Error;
use crate::output;

/// What OpenSSH says where a shell finds no program.
const NOT_FOUND: u32 = 127;
/// What OpenSSH says where a connection failed.
const LOST: u32 = 255;
/// SSH's number of standard error.
const EXTENDED_STDERR: u32 = 1;

/// What a client sends.
#[derive(Debug)]
pub enum Input {
    /// Bytes; none end it.
    Bytes(Bytes),
    /// Something beside them.
    Control(StreamControl),
}

/// What is behind a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A command or a shell; with a terminal, or without.
    Session {
        /// Whether lines end as on a terminal.
        terminal: bool,
    },
    /// A port.
    Port(u16),
}

/// A channel that is open.
pub struct Channel {
    /// Where it leads.
    pub access: Access,
    /// See `access`.
    pub sandbox: Name,
    /// What is behind it.
    pub kind: Kind,
    /// The client's end.
    pub client: Arc<ChannelWriteHalf<Msg>>,
    /// The client.
    pub session: Handle,
    /// What the client sends.
    pub input: mpsc::UnboundedReceiver<Input>,
    /// How much of it waits.
    pub backlog: Arc<Backlog>,
}

impl Channel {
    /// Carries everything to and fro until the stream's end, and closes the channel.
    pub async fn run(mut self, request: StreamRequest) {
        let ended = self.carry(&request).await;
        if self.tell(ended, &request).await.is_ok() {
            let _ = self.client.close().await;
        }
    }

    async fn carry(&mut self, request: &StreamRequest) -> Result<(StreamEvent, bool), Error> {
        let (mut sender, receiver) = stream::open(&self.access, &self.sandbox, request).await?;
        if matches!(self.kind, Kind::Port(_)) {
            sender.control(&KNOWS_HALF_CLOSED).await?;
        }
        let (input, backlog) = (&mut self.input, &self.backlog);
        let ended = tokio::select! {
            ended = output(receiver, &self.client) => ended,
            never = feed(&mut sender, input, backlog) => match never {},
        };
        sender.close().await;
        ended
    }

    /// Says how it ended. An error means that the client is gone.
    async fn tell(
        &self,
        ended: Result<(StreamEvent, bool), Error>,
        request: &StreamRequest,
    ) -> Result<(), russh::Error> {
        let (error, code) = match ended {
            Ok((StreamEvent::Exited { code, signal }, _)) => {
                self.client.eof().await?;
                return match (self.kind, signal.and_then(signal_name)) {
                    (Kind::Port(_), _) => Ok(()),
                    (Kind::Session { .. }, Some(name)) => {
                        let told = self.session.exit_signal_request(
                            self.client.id(),
                            name,
                            false,
                            String::new(),
                            String::new(),
                        );
                        told.await.map_err(|()| russh::Error::SendError)
                    }
                    (Kind::Session { .. }, None) => self.client.exit_status(code.cast_unsigned()).await,
                };
            }
            Ok((StreamEvent::Failed { reason }, began)) => match (request, self.kind) {
                (_, Kind::Port(_)) => (Error::Forward { reason }, LOST),
                (StreamRequest::Exec { exec, .. }, _) if !began => {
                    let program = exec.command.first().cloned().unwrap_or_default();
                    (Error::Exec { sandbox: self.sandbox.to_string(), program, reason }, NOT_FOUND)
                }
                _ => (Error::ExecBroken { reason }, LOST),
            },
            Ok((event, _)) => (Error::ExecBroken { reason: format!("it ended with {event:?}") }, LOST),
            Err(error) => (error, LOST),
        };
        match self.kind {
            // A channel of this kind has no place for words; OpenSSH passes our standard error on.
            Kind::Port(port) => {
                eprint!("a connection to port {port} of sandbox {} failed: {error}\r\n", self.sandbox);
                Ok(())
            }
            Kind::Session { terminal } => {
                let text = output::error_text(&error);
                let text = if terminal { text.replace('\n', "\r\n") } else { text };
                self.client.extended_data_bytes(EXTENDED_STDERR, text.into_bytes()).await?;
                self.client.eof().await?;
                self.client.exit_status(code).await
            }
        }
    }
}

/// Passes output on until the end; answers it, and whether there was any output.
async fn output(mut receiver: Receiver, client: &ChannelWriteHalf<Msg>) -> Result<(StreamEvent, bool), Error> {
    let gone = |error: russh::Error| Error::from(super::SshError::Protocol(error));
    let mut began = false;
    loop {
        match receiver.next().await? {
            Incoming::Output(STDOUT, data) if data.is_empty() => client.eof().await.map_err(gone)?,
            Incoming::Output(STDOUT, data) => client.data_bytes(data).await.map_err(gone)?,
            Incoming::Output(STDERR, data) => {
                client.extended_data_bytes(EXTENDED_STDERR, data).await.map_err(gone)?;
            }
            Incoming::Event(event) if event.is_last() => return Ok((event, began)),
            Incoming::Output(..) | Incoming::Event(_) => continue,
        }
        began = true;
    }
}

/// Passes input on. Never ends: the stream's end is told with its output.
async fn feed(
    sender: &mut Sender,
    input: &mut mpsc::UnboundedReceiver<Input>,
    backlog: &Backlog,
) -> std::convert::Infallible {
    while let Some(next) = input.recv().await {
        let sent = match next {
            Input::Control(control) => sender.control(&control).await,
            Input::Bytes(data) if data.is_empty() => sender.bytes(data).await,
            Input::Bytes(mut data) => {
                let mut sent = Ok(());
                while sent.is_ok() && !data.is_empty() {
                    let piece = data.split_to(data.len().min(CHUNK));
                    let length = piece.len();
                    sent = sender.bytes(piece).await;
                    backlog.remove(length);
                }
                sent
            }
        };
        if sent.is_err() {
            break;
        }
    }
    std::future::pending().await
}

/// A signal's name, without `SIG`.
fn signal_name(number: i32) -> Option<Sig> {
    let signal = Signal::try_from(number).ok()?;
    signal.as_str().strip_prefix("SIG").map(|name| Sig::Custom(name.to_owned()))
}

/// A signal's number; nothing for one that SSH has no name for (RFC 4254, section 6.10).
pub fn signal_number(name: &Sig) -> Option<i32> {
    let signal = match name {
        Sig::ABRT => Signal::SIGABRT,
        Sig::ALRM => Signal::SIGALRM,
        Sig::FPE => Signal::SIGFPE,
        Sig::HUP => Signal::SIGHUP,
        Sig::ILL => Signal::SIGILL,
        Sig::INT => Signal::SIGINT,
        Sig::KILL => Signal::SIGKILL,
        Sig::PIPE => Signal::SIGPIPE,
        Sig::QUIT => Signal::SIGQUIT,
        Sig::SEGV => Signal::SIGSEGV,
        Sig::TERM => Signal::SIGTERM,
        Sig::USR1 => Signal::SIGUSR1,
        Sig::Custom(name) if name == "USR2" => Signal::SIGUSR2,
        Sig::Custom(_) => return None,
    };
    Some(signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_names_of_the_protocol() {
        for (name, number) in [
            (Sig::HUP, nix::libc::SIGHUP),
            (Sig::INT, nix::libc::SIGINT),
            (Sig::KILL, nix::libc::SIGKILL),
            (Sig::TERM, nix::libc::SIGTERM),
            (Sig::USR1, nix::libc::SIGUSR1),
            (Sig::Custom("USR2".into()), nix::libc::SIGUSR2),
        ] {
            assert_eq!(signal_number(&name), Some(number));
            let said = signal_name(number).expect("it has a name");
            assert!(matches!(&said, Sig::Custom(said) if format!("{name:?}").contains(said)), "{said:?} for {name:?}");
        }
        for name in ["STOP", "CONT", "", "SIGTERM", "9"] {
            assert_eq!(signal_number(&Sig::Custom(name.into())), None, "{name}");
        }
        assert!(signal_name(0).is_none());
    }
}
