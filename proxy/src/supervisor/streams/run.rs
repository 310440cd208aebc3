//! One stream from its begin to its end: input is written as it comes, output goes to the replay, and what is asked of
//! a command meanwhile is passed on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openshell_api::link::{EXEC_WINDOW, ExecStream};
use openshell_api::sandbox::WindowSize;
use openshell_api::stream::{StreamEvent, StreamRequest};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::outbox::LinkEnded;
use super::super::workload::Workload;
use super::intake::Intake;
use super::replay::Replay;
use super::service::{Input, Output, Service, ServiceError};
use crate::isolation::{Child, ExitStatus, Pty, SpawnError};

/// Input that may wait for a command, in bytes; one that is sent more is ended.
pub(super) const MAX_WAITING: u64 = 16 * EXEC_WINDOW;

/// Output of what the command left running is taken as long as it keeps coming this quickly.
const LINGER: Duration = Duration::from_millis(250);

/// Time between SIGHUP and SIGKILL when nobody is there any more.
const FAREWELL: Duration = Duration::from_secs(2);

/// Longest read, in bytes.
const CHUNK: usize = 64 * 1024;

/// Why a stream did not run to its end.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("its streams: {0}")]
    Streams(#[from] io::Error),
    #[error("the command does not read its input: {MAX_WAITING} bytes are waiting")]
    Overrun,
    #[error(transparent)]
    HungUp(#[from] LinkEnded),
}

/// What a stream is told.
pub(super) enum Control {
    Input(Bytes),
    Resize(WindowSize),
    Signal(i32),
    Overrun,
}

/// A stream's inner side.
#[derive(Clone)]
pub(super) struct Run {
    pub replay: Arc<Replay>,
    pub intake: Arc<Intake>,
    pub hang_up: CancellationToken,
}

impl Run {
    pub async fn run(
        self,
        request: StreamRequest,
        workload: Arc<Workload>,
        commands: mpsc::UnboundedReceiver<Control>,
    ) {
        let last = match self.execute(request, &workload, commands).await {
            Ok(status) => StreamEvent::Exited { code: status.shell_code(), signal: status.signal() },
            Err(error) => StreamEvent::Failed { reason: error.to_string() },
        };
        self.replay.finish(last);
    }

    async fn execute(
        &self,
        request: StreamRequest,
        workload: &Workload,
        commands: mpsc::UnboundedReceiver<Control>,
    ) -> Result<ExitStatus, RunError> {
        let Service { input, outputs, child } = Service::begin(request, workload).await?;
        let terminal = match &input {
            Input::Terminal(pty) => Some(pty.handle()),
            Input::Pipe(_) | Input::Other(_) => None,
        };
        let exited = CancellationToken::new();
        let mut pumps = JoinSet::new();
        for (stream, output) in outputs {
            let (run, exited) = (self.clone(), exited.clone());
            pumps.spawn(async move { run.pump(stream, output, exited).await });
        }
        let mut typing = JoinSet::new();
        let (typist, keys) = mpsc::unbounded_channel();
        let run = self.clone();
        typing.spawn(async move { run.feed(input, keys).await });
        let ended = match child {
            Some(child) => self.mind(child, terminal, commands, typist).await,
            None => self.converse(&mut pumps, &mut typing, commands, typist).await,
        };
        exited.cancel();
        if ended.is_ok() {
            while let Some(pumped) = pumps.join_next().await {
                pumped.map_err(io::Error::other)??;
            }
        }
        ended
    }

    /// Waits for the command's end and passes on what is asked of it meanwhile.
    async fn mind(
        &self,
        mut child: Child,
        terminal: Option<Pty>,
        mut commands: mpsc::UnboundedReceiver<Control>,
        typist: mpsc::UnboundedSender<Bytes>,
    ) -> Result<ExitStatus, RunError> {
        let signaller = child.signaller();
        loop {
            tokio::select! {
                ended = child.wait() => return Ok(ended?),
                () = self.hang_up.cancelled() => break,
                Some(command) = commands.recv() => match command {
                    Control::Signal(signal) => signaller.signal(signal)?,
                    Control::Overrun => {
                        signaller.signal(libc::SIGKILL)?;
                        return Err(RunError::Overrun);
                    }
                    Control::Resize(size) => {
                        if let Some(terminal) = &terminal {
                            terminal.resize(size.cols, size.rows)?;
                        }
                    }
                    // The typist ends when the command no longer reads: what it is given then is lost on purpose.
                    Control::Input(data) => drop(typist.send(data)),
                },
            }
        }
        drop(typist);
        signaller.signal(libc::SIGHUP)?;
        if tokio::time::timeout(FAREWELL, child.wait()).await.is_err() {
            signaller.signal(libc::SIGKILL)?;
        }
        Err(LinkEnded.into())
    }

    /// Waits for the end of a service without a program: that of its output, and, where its client knows one from the other,
    /// that of its input.
    async fn converse(
        &self,
        pumps: &mut JoinSet<io::Result<()>>,
        typing: &mut JoinSet<io::Result<()>>,
        mut commands: mpsc::UnboundedReceiver<Control>,
        typist: mpsc::UnboundedSender<Bytes>,
    ) -> Result<ExitStatus, RunError> {
        let mut half_closed = false;
        loop {
            tokio::select! {
                pumped = pumps.join_next(), if !half_closed => match pumped {
                    None => {
                        half_closed = self.replay.close();
                        if !half_closed {
                            return Ok(ExitStatus::Code(0));
                        }
                    }
                    Some(pumped) => pumped.map_err(io::Error::other)??,
                },
                // All of it was written, or nobody takes it any more.
                _ = typing.join_next(), if half_closed => return Ok(ExitStatus::Code(0)),
                () = self.hang_up.cancelled() => return Err(LinkEnded.into()),
                Some(command) = commands.recv() => match command {
                    Control::Input(data) => drop(typist.send(data)),
                    Control::Overrun => return Err(RunError::Overrun),
                    Control::Resize(_) | Control::Signal(_) => {}
                },
            }
        }
    }

    /// Writes input until its end or until nobody reads it.
    async fn feed(&self, mut input: Input, mut keys: mpsc::UnboundedReceiver<Bytes>) -> io::Result<()> {
        while let Some(data) = keys.recv().await {
            if !input.write(&data).await? {
                break;
            }
            self.taken(data.len() as u64).await;
        }
        Ok(())
    }

    async fn taken(&self, bytes: u64) {
        if let Some((outbox, credit)) = self.intake.take(bytes) {
            // An error means that the link has ended; a client that comes back learns what was taken.
            let _ = outbox.send(&credit).await;
        }
    }

    /// Takes output until its end. Once the command has exited, what others still hold the stream open for is taken as
    /// long as it comes without a pause.
    async fn pump(&self, stream: ExecStream, mut output: Output, exited: CancellationToken) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            tokio::select! {
                () = self.replay.wait_for_room() => {}
                () = self.hang_up.cancelled() => return Ok(()),
            }
            let paused = async {
                exited.cancelled().await;
                tokio::time::sleep(LINGER).await;
            };
            let length = tokio::select! {
                biased;
                length = output.read(&mut buffer) => length?,
                () = paused => 0,
            };
            if length == 0 {
                return Ok(());
            }
            self.replay.push(stream, &buffer[..length]);
        }
    }
}
