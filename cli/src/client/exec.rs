//! Running a command in a sandbox, connected with this process's standard streams. A connection that is cut is made
//! again, and the command goes on as if nothing had been.

use std::io::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openshell_api::Name;
use openshell_api::link::EXEC_WINDOW;
use openshell_api::sandbox::{ExecRequest, WindowSize};
use openshell_api::stream::{GRACE_S, StreamControl, StreamEvent, StreamRequest};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use super::Access;
use super::signals::{Caught, Signals};
use super::stream::{self, CHUNK, Incoming, Receiver, STDERR, STDOUT, Sender};
use super::unconfirmed::Unconfirmed;
use crate::error::Error;
use crate::sys;

/// Output is confirmed after so much of it, in bytes, or after [`CONFIRM_EVERY`].
const CONFIRM_AFTER: u64 = EXEC_WINDOW / 8;
const CONFIRM_EVERY: Duration = Duration::from_millis(250);
/// First and longest pause between two attempts to connect again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// What a terminal sends for Ctrl-C.
const CTRL_C: u8 = 3;

/// Runs a command; its exit code is the answer. Standard input ends the command's input when it ends; SIGINT and SIGTERM
/// are passed on; SIGHUP hangs it up. `note` is told when the connection is lost and made again.
pub async fn run(
    access: &Access,
    sandbox: &Name,
    request: ExecRequest,
    note: &(dyn Fn(&str) + Sync),
) -> Result<i32, Error> {
    let program = request.command.first().cloned().unwrap_or_default();
    let tty = request.tty;
    // Before anything runs: from its first word on, the command gets the signals.
    let signals = Signals::listen();
    let (sender, receiver) =
        stream::open(access, sandbox, &StreamRequest::Exec { exec: request, resumable: true }).await?;
    let _mode = match tty {
        Some(_) => Some(sys::TerminalMode::raw().map_err(|_| Error::NotATerminal)?),
        None => None,
    };
    let mut session = Session {
        access,
        sandbox,
        note,
        id: None,
        sender,
        receiver,
        keys: standard_input(),
        input: Unconfirmed::new(EXEC_WINDOW),
        received: 0,
        confirmed: 0,
        signals,
        tty: tty.is_some(),
        size: tty,
    };
    match session.run().await? {
        StreamEvent::Exited { code, .. } => Ok(code),
        StreamEvent::Failed { reason } => Err(Error::Exec { sandbox: sandbox.to_string(), program, reason }),
        event => Err(Error::ExecBroken { reason: format!("it ended with {event:?}") }),
    }
}

/// Standard input in pieces; an empty one is its end. It is read ahead by one piece.
fn standard_input() -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = stdin.read(&mut buffer).await.unwrap_or(0);
            if sender.send(Bytes::copy_from_slice(&buffer[..count])).await.is_err() || count == 0 {
                return;
            }
        }
    });
    receiver
}

/// A command that runs, over however many connections.
struct Session<'a> {
    access: &'a Access,
    sandbox: &'a Name,
    note: &'a (dyn Fn(&str) + Sync),
    /// Absent until the sandbox has named it.
    id: Option<String>,
    sender: Sender,
    receiver: Receiver,
    keys: mpsc::Receiver<Bytes>,
    input: Unconfirmed,
    /// Output that was written, and that the sandbox knows of, in bytes.
    received: u64,
    confirmed: u64,
    signals: Signals,
    tty: bool,
    size: Option<WindowSize>,
}

impl Session<'_> {
    /// Goes on until the command ends.
    async fn run(&mut self) -> Result<StreamEvent, Error> {
        loop {
            match self.step().await {
                Ok(None) => {}
                Ok(Some(last)) => {
                    self.sender.close().await;
                    return Ok(last);
                }
                Err(lost @ Error::ExecBroken { .. }) => self.reconnect(lost).await?,
                // Nobody takes its output: the command is not kept for anybody.
                Err(error) => {
                    self.sender.leave().await;
                    return Err(error);
                }
            }
        }
    }

    /// Takes the next thing that happens. The end, if that was it.
    async fn step(&mut self) -> Result<Option<StreamEvent>, Error> {
        let unconfirmed = self.received - self.confirmed;
        tokio::select! {
            incoming = self.receiver.next() => match incoming? {
                Incoming::Output(stream, data) => {
                    write_output(stream, &data)?;
                    self.received += data.len() as u64;
                    if self.id.is_some() && self.received - self.confirmed >= CONFIRM_AFTER {
                        self.confirm().await?;
                    }
                }
                Incoming::Event(StreamEvent::Started { session }) => self.id = Some(session),
                Incoming::Event(StreamEvent::Taken { bytes, input }) => self.input.taken(bytes, input),
                Incoming::Event(event) if event.is_last() => return Ok(Some(event)),
                Incoming::Event(_) => {}
            },
            Some(data) = self.keys.recv(), if self.input.has_room() => {
                self.input.push(&data);
                self.sender.bytes(data).await?;
            }
            () = tokio::time::sleep(CONFIRM_EVERY), if unconfirmed > 0 && self.id.is_some() => self.confirm().await?,
            control = self.signals.next(self.tty) => {
                if matches!(control, Caught::Number(nix::libc::SIGHUP)) {
                    return Err(Error::Interrupted { done: "the terminal is gone, and the command is hung up" });
                }
                if let Some(control) = self.resolve(control) {
                    self.sender.control(&control).await?;
                }
            }
        }
        Ok(None)
    }

    async fn confirm(&mut self) -> Result<(), Error> {
        self.sender.control(&StreamControl::Received { bytes: self.received }).await?;
        self.confirmed = self.received;
        Ok(())
    }

    /// What a signal of ours means to the command.
    fn resolve(&mut self, signal: Caught) -> Option<StreamControl> {
        match signal {
            Caught::Resized => {
                let now = sys::window_size();
                let changed = now.filter(|_| now != self.size);
                self.size = now.or(self.size);
                changed.map(StreamControl::Resize)
            }
            Caught::Number(signal) => Some(StreamControl::Signal { signal }),
        }
    }

    /// Connects again and goes on where the connection was lost. Fails with `lost` once the sandbox has given the
    /// command up, or when the user does.
    async fn reconnect(&mut self, lost: Error) -> Result<(), Error> {
        let Some(id) = self.id.clone() else { return Err(lost) };
        (self.note)("the connection is lost: connecting again (Ctrl-C gives up)");
        let (began, mut pause) = (Instant::now(), PAUSES.0);
        while began.elapsed() < Duration::from_secs(GRACE_S) {
            match self.resume(&id).await {
                Ok(()) => {
                    (self.note)("connected again");
                    return Ok(());
                }
                Err(error) if passes(&error) => {}
                Err(error) => return Err(error),
            }
            if self.gives_up_within(pause).await {
                break;
            }
            pause = (pause * 2).min(PAUSES.1);
        }
        Err(lost)
    }

    async fn resume(&mut self, id: &str) -> Result<(), Error> {
        let request = StreamRequest::Resume { session: id.to_owned(), received: self.received };
        let (mut sender, mut receiver) = stream::open(self.access, self.sandbox, &request).await?;
        let first = loop {
            match receiver.next().await? {
                Incoming::Event(StreamEvent::Taken { bytes, input }) => self.input.taken(bytes, input),
                first => break first,
            }
        };
        match first {
            Incoming::Event(StreamEvent::Resumed { input, ended }) => {
                for data in self.input.resume(input, ended, CHUNK) {
                    sender.bytes(data).await?;
                }
            }
            Incoming::Event(StreamEvent::Failed { reason }) => return Err(Error::SessionOver { reason }),
            other => return Err(Error::ExecBroken { reason: format!("it began with {other:?}") }),
        }
        // The terminal may have changed meanwhile.
        if let (true, Some(size)) = (self.tty, sys::window_size()) {
            self.size = Some(size);
            sender.control(&StreamControl::Resize(size)).await?;
        }
        self.confirmed = self.received;
        (self.sender, self.receiver) = (sender, receiver);
        Ok(())
    }

    /// Waits; `true`: the user does not want to wait any longer. What else is typed meanwhile is kept.
    async fn gives_up_within(&mut self, pause: Duration) -> bool {
        let deadline = tokio::time::sleep(pause);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                () = &mut deadline => return false,
                caught = self.signals.next(self.tty) => if matches!(caught, Caught::Number(_)) { return true },
                Some(data) = self.keys.recv(), if self.input.has_room() => {
                    if self.tty && data.contains(&CTRL_C) {
                        return true;
                    }
                    self.input.push(&data);
                }
            }
        }
    }
}

/// Whether another attempt may succeed where this one failed.
fn passes(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } | Error::ExecBroken { .. } => true,
        Error::Refused(problem) => problem.code == "sandbox_not_connected" || problem.status >= 500,
        _ => false,
    }
}

fn write_output(stream: u8, data: &[u8]) -> Result<(), Error> {
    match stream {
        STDOUT => {
            let mut out = std::io::stdout().lock();
            out.write_all(data).and_then(|()| out.flush()).map_err(Error::io("write to standard output"))
        }
        STDERR => std::io::stderr().write_all(data).map_err(Error::io("write to standard error")),
        stream => Err(Error::ExecBroken { reason: format!("output on unknown stream {stream}") }),
    }
}
