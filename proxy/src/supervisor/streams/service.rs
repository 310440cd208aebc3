//! What a stream leads to: a program in the sandbox, its files, or a port.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use openshell_api::link::ExecStream;
use openshell_api::sandbox::ExecRequest;
use openshell_api::stream::StreamRequest;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::unix::pipe;

use super::super::workload::Workload;
use crate::isolation::{Child, Pty, SpawnError, SpawnRequest, Stdio, Task};

/// Why a stream has nowhere to lead.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// The program.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// Its streams.
    #[error("its streams: {0}")]
    Streams(#[from] io::Error),
    /// The port.
    #[error("nothing answers on port {port} of the sandbox: {source}")]
    Port {
        /// Which.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// Taking a stream up again begins nothing.
    #[error("a stream can't begin with that request")]
    Request,
}

/// Something that takes input, gives output, and ends.
pub(crate) struct Service {
    pub input: Input,
    pub outputs: Vec<(ExecStream, Output)>,
    /// The program; without one, a service ends with its output.
    pub child: Option<Child>,
}

/// Where input goes.
pub(crate) enum Input {
    Pipe(pipe::Sender),
    Terminal(Pty),
    Other(Box<dyn AsyncWrite + Send + Unpin>),
}

/// Where output comes from.
pub(crate) enum Output {
    Pipe(pipe::Receiver),
    Terminal(Pty),
    Other(Box<dyn AsyncRead + Send + Unpin>),
}

impl Service {
    /// Begins what is asked for.
    pub async fn begin(request: StreamRequest, workload: &Workload) -> Result<Self, ServiceError> {
        match request {
            StreamRequest::Exec { exec, .. } => Self::command(exec, workload).await,
            StreamRequest::Upload { path } => Self::task(Task::Unpack { path: PathBuf::from(path) }, workload).await,
            StreamRequest::Download { path } => Self::task(Task::Pack { path: PathBuf::from(path) }, workload).await,
            StreamRequest::Sftp => Self::task(Task::Sftp, workload).await,
            StreamRequest::Forward { port } => {
                let socket = workload.dial(port).await.map_err(|source| ServiceError::Port { port, source })?;
                let (read, write) = socket.into_split();
                Ok(Self {
                    input: Input::Other(Box::new(write)),
                    outputs: vec![(ExecStream::Stdout, Output::Other(Box::new(read)))],
                    child: None,
                })
            }
            StreamRequest::Resume { .. } => Err(ServiceError::Request),
        }
    }

    /// A command, with or without a terminal.
    pub async fn command(request: ExecRequest, workload: &Workload) -> Result<Self, ServiceError> {
        let mut env = workload.environment();
        if request.tty.is_some() {
            env.insert("TERM".to_owned(), "xterm-256color".to_owned());
        }
        env.extend(request.env);
        let cwd = request.workdir.map_or_else(|| workload.workdir(), Into::into);
        let spawn = |stdio| workload.spawn(SpawnRequest { argv: request.command, env, cwd, stdio });
        match request.tty {
            None => {
                let (stdio, ends) = Pipes::new()?;
                Self::piped(spawn(stdio).await?, ends)
            }
            Some(size) => {
                let mut child = spawn(Stdio::Terminal { columns: size.cols, rows: size.rows }).await?;
                let pty = child.pty.take().ok_or_else(|| io::Error::other("the sandbox gave no terminal"))?;
                let output = Output::Terminal(pty.handle());
                Ok(Self {
                    input: Input::Terminal(pty),
                    outputs: vec![(ExecStream::Stdout, output)],
                    child: Some(child),
                })
            }
        }
    }

    /// Code of ours that runs inside as the workload does.
    pub async fn task(task: Task, workload: &Workload) -> Result<Self, ServiceError> {
        let (stdio, ends) = Pipes::new()?;
        let child = workload.spawn_task(task, stdio).await?;
        Self::piped(child, ends)
    }

    fn piped(child: Child, ends: Pipes) -> Result<Self, ServiceError> {
        let receive = |fd| pipe::Receiver::from_owned_fd(fd).map(Output::Pipe);
        Ok(Self {
            input: Input::Pipe(pipe::Sender::from_owned_fd(ends.stdin)?),
            outputs: vec![(ExecStream::Stdout, receive(ends.stdout)?), (ExecStream::Stderr, receive(ends.stderr)?)],
            child: Some(child),
        })
    }
}

/// Our ends of a program's three pipes.
struct Pipes {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Pipes {
    fn new() -> io::Result<(Stdio, Self)> {
        let pipe = || nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC);
        let (stdin, stdout, stderr) = (pipe()?, pipe()?, pipe()?);
        Ok((
            Stdio::Descriptors { stdin: stdin.0, stdout: stdout.1, stderr: stderr.1 },
            Self { stdin: stdin.1, stdout: stdout.0, stderr: stderr.0 },
        ))
    }
}

impl Input {
    /// Writes all of `data`; none: the end of input. `false`: nothing more can be written.
    pub async fn write(&mut self, data: &[u8]) -> io::Result<bool> {
        match self {
            Self::Pipe(_) if data.is_empty() => return Ok(false),
            Self::Pipe(pipe) => pipe.write_all(data).await?,
            // A terminal has no end of input: Ctrl-D says it.
            Self::Terminal(pty) => pty.write_all(if data.is_empty() { &[4] } else { data }).await?,
            Self::Other(other) if data.is_empty() => {
                other.shutdown().await?;
                return Ok(false);
            }
            Self::Other(other) => other.write_all(data).await?,
        }
        Ok(true)
    }
}

impl Output {
    /// Reads some; 0: the end.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Pipe(pipe) => pipe.read(buffer).await,
            Self::Terminal(pty) => pty.read(buffer).await,
            Self::Other(other) => other.read(buffer).await,
        }
    }
}
