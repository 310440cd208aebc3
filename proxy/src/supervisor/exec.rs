//! Commands run in the sandbox for someone at the gateway, with or without a terminal.
//!
//! Both directions are granted in windows, so that neither a command that does not read nor a client that does not
//! holds up the link or fills memory. A command dies with the link it was asked for on.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use openshell_api::link::{EXEC_WINDOW, ExecStream, FromSupervisor};
use openshell_api::sandbox::{ExecRequest, WindowSize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::outbox::{LinkEnded, Outbox};
use super::workload::Workload;
use crate::isolation::{Child, ExitStatus, Pty, SpawnError, SpawnRequest, Stdio};

/// Input that may wait for a command, in bytes; one that is sent more is ended.
const MAX_WAITING: u64 = 16 * EXEC_WINDOW;

/// Output of what the command left running is taken as long as it keeps coming this quickly.
const LINGER: Duration = Duration::from_millis(250);

/// Time between SIGHUP and SIGKILL when nobody is there any more.
const FAREWELL: Duration = Duration::from_secs(2);

/// Longest read, in bytes: below what one frame may carry.
const CHUNK: usize = 64 * 1024;

/// Why a command did not run to its end.
#[derive(Debug, thiserror::Error)]
enum ExecError {
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("its streams: {0}")]
    Streams(#[from] io::Error),
    #[error("the command does not read its input: {MAX_WAITING} bytes are waiting")]
    Overrun,
    #[error(transparent)]
    Link(#[from] LinkEnded),
}

enum Control {
    Input(Bytes),
    Resize(WindowSize),
    Signal(i32),
    Overrun,
}

/// A running command. Dropping it hangs the command up.
pub(super) struct Exec {
    control: mpsc::UnboundedSender<Control>,
    credit: Arc<Semaphore>,
    /// Bytes of input that the command has not taken.
    waiting: Arc<AtomicU64>,
    task: JoinHandle<()>,
    _hang_up: tokio_util::sync::DropGuard,
}

impl Exec {
    /// Starts a command; what becomes of it goes to `outbox`.
    pub fn start(channel: u64, request: ExecRequest, workload: Arc<Workload>, outbox: Outbox) -> Self {
        let (control, commands) = mpsc::unbounded_channel();
        let credit = Arc::new(Semaphore::new(usize::try_from(EXEC_WINDOW).unwrap_or(usize::MAX >> 4)));
        let waiting = Arc::new(AtomicU64::new(0));
        let hang_up = CancellationToken::new();
        let run = Run { channel, outbox, credit: credit.clone(), waiting: waiting.clone(), hang_up: hang_up.clone() };
        let task = tokio::spawn(run.run(request, workload, commands));
        Self { control, credit, waiting, task, _hang_up: hang_up.drop_guard() }
    }

    /// Whether it is over.
    pub fn ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Gives it input; none: the end of input. Never blocks. A command that has too much waiting is ended.
    pub fn input(&self, data: Bytes) {
        let waiting = self.waiting.fetch_add(data.len() as u64, Ordering::AcqRel) + data.len() as u64;
        let control = if waiting > MAX_WAITING { Control::Overrun } else { Control::Input(data) };
        // A command that is over takes no input: that is no error.
        let _ = self.control.send(control);
    }

    /// Its terminal changed size.
    pub fn resize(&self, size: WindowSize) {
        let _ = self.control.send(Control::Resize(size));
    }

    /// Signals it.
    pub fn signal(&self, signal: i32) {
        let _ = self.control.send(Control::Signal(signal));
    }

    /// It may send more output.
    pub fn credit(&self, bytes: u64) {
        let room = Semaphore::MAX_PERMITS - self.credit.available_permits();
        self.credit.add_permits(usize::try_from(bytes).unwrap_or(usize::MAX).min(room));
    }
}

#[derive(Clone)]
struct Run {
    channel: u64,
    outbox: Outbox,
    credit: Arc<Semaphore>,
    waiting: Arc<AtomicU64>,
    hang_up: CancellationToken,
}

enum Output {
    Pipe(pipe::Receiver),
    Terminal(Pty),
}

enum Input {
    Pipe(pipe::Sender),
    Terminal(Pty),
}

impl Run {
    async fn run(self, request: ExecRequest, workload: Arc<Workload>, commands: mpsc::UnboundedReceiver<Control>) {
        let channel = self.channel;
        let last = match self.execute(request, &workload, commands).await {
            Ok(status) => FromSupervisor::ExecExited { channel, code: status.shell_code() },
            Err(error) => FromSupervisor::ExecFailed { channel, reason: error.to_string() },
        };
        // An error means that the link is gone, and with it whoever asked.
        let _ = self.outbox.send_in_order(&last).await;
    }

    async fn execute(
        &self,
        request: ExecRequest,
        workload: &Workload,
        commands: mpsc::UnboundedReceiver<Control>,
    ) -> Result<ExitStatus, ExecError> {
        let (mut child, input, outputs) = self.spawn(request, workload).await?;
        let terminal = match &input {
            Input::Terminal(pty) => Some(pty.handle()),
            Input::Pipe(_) => None,
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
        let ended = self.mind(&mut child, terminal, commands, typist).await;
        exited.cancel();
        if ended.is_ok() {
            while let Some(pumped) = pumps.join_next().await {
                pumped.map_err(io::Error::other)??;
            }
        }
        ended
    }

    async fn spawn(
        &self,
        request: ExecRequest,
        workload: &Workload,
    ) -> Result<(Child, Input, Vec<(ExecStream, Output)>), ExecError> {
        let mut env = workload.environment();
        if request.tty.is_some() {
            env.insert("TERM".to_owned(), "xterm-256color".to_owned());
        }
        env.extend(request.env);
        let mut ends = None;
        let stdio = match request.tty {
            Some(size) => Stdio::Terminal { columns: size.cols, rows: size.rows },
            None => {
                let (stdin, stdout, stderr) = (pipe()?, pipe()?, pipe()?);
                ends = Some((stdin.1, stdout.0, stderr.0));
                Stdio::Descriptors { stdin: stdin.0, stdout: stdout.1, stderr: stderr.1 }
            }
        };
        let cwd = request.workdir.map_or_else(|| workload.workdir(), Into::into);
        let mut child = workload.spawn(SpawnRequest { argv: request.command, env, cwd, stdio }).await?;
        let (input, outputs) = match (ends, child.pty.take()) {
            (Some((stdin, stdout, stderr)), _) => {
                let receive = |fd| pipe::Receiver::from_owned_fd(fd).map(Output::Pipe);
                let outputs = vec![(ExecStream::Stdout, receive(stdout)?), (ExecStream::Stderr, receive(stderr)?)];
                (Input::Pipe(pipe::Sender::from_owned_fd(stdin)?), outputs)
            }
            (None, Some(pty)) => {
                let output = Output::Terminal(pty.handle());
                (Input::Terminal(pty), vec![(ExecStream::Stdout, output)])
            }
            (None, None) => return Err(io::Error::other("the sandbox gave no terminal").into()),
        };
        Ok((child, input, outputs))
    }

    /// Waits for the command's end and passes on what is asked of it meanwhile.
    async fn mind(
        &self,
        child: &mut Child,
        terminal: Option<Pty>,
        mut commands: mpsc::UnboundedReceiver<Control>,
        typist: mpsc::UnboundedSender<Bytes>,
    ) -> Result<ExitStatus, ExecError> {
        let signaller = child.signaller();
        loop {
            tokio::select! {
                ended = child.wait() => return Ok(ended?),
                () = self.hang_up.cancelled() => break,
                Some(command) = commands.recv() => match command {
                    Control::Signal(signal) => signaller.signal(signal)?,
                    Control::Overrun => {
                        signaller.signal(libc::SIGKILL)?;
                        return Err(ExecError::Overrun);
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
        signaller.signal(libc::SIGHUP)?;
        if tokio::time::timeout(FAREWELL, child.wait()).await.is_err() {
            signaller.signal(libc::SIGKILL)?;
        }
        Err(LinkEnded.into())
    }

    /// Writes input until its end or until the command no longer reads.
    async fn feed(&self, mut input: Input, mut keys: mpsc::UnboundedReceiver<Bytes>) -> io::Result<()> {
        while let Some(data) = keys.recv().await {
            match &mut input {
                Input::Pipe(_) if data.is_empty() => break,
                Input::Pipe(pipe) => pipe.write_all(&data).await?,
                // A terminal has no end of input: Ctrl-D says it.
                Input::Terminal(pty) => pty.write_all(if data.is_empty() { &[4] } else { &data }).await?,
            }
            self.taken(data.len() as u64).await;
        }
        Ok(())
    }

    async fn taken(&self, bytes: u64) {
        self.waiting.fetch_sub(bytes, Ordering::AcqRel);
        let credit = FromSupervisor::ExecCredit { channel: self.channel, bytes };
        // An error means that the link has ended, which ends the command.
        let _ = self.outbox.send(&credit).await;
    }

    /// Sends output until its end. Once the command has exited, what others still hold the stream open for is taken
    /// as long as it comes without a pause.
    async fn pump(&self, stream: ExecStream, mut output: Output, exited: CancellationToken) -> Result<(), ExecError> {
        let mut buffer = vec![0; CHUNK];
        loop {
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
            let permits = u32::try_from(length).map_err(io::Error::other)?;
            tokio::select! {
                permit = self.credit.acquire_many(permits) => permit.map_err(io::Error::other)?.forget(),
                () = self.hang_up.cancelled() => return Ok(()),
            }
            let mut frame = BytesMut::with_capacity(9 + length);
            frame.put_u64(self.channel);
            frame.put_u8(stream as u8);
            frame.put_slice(&buffer[..length]);
            self.outbox.send_bytes(frame.freeze()).await?;
        }
    }
}

impl Output {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Pipe(pipe) => pipe.read(buffer).await,
            Self::Terminal(pty) => pty.read(buffer).await,
        }
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?)
}
