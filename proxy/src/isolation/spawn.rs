//! Starting and minding processes inside a sealed sandbox.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::SpawnError;
use super::keeper::{Control, NotStarted};
use super::sys;
use super::wire::{self, Command, Program, Task};

/// What to start.
#[derive(Debug)]
pub struct SpawnRequest {
    /// Program and arguments; a program without `/` is looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment: nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Working directory inside.
    pub cwd: PathBuf,
    /// Its standard streams.
    pub stdio: Stdio,
}

/// Standard streams of a process.
#[derive(Debug)]
pub enum Stdio {
    /// Three descriptors: pipes, files or sockets.
    Descriptors {
        /// Descriptor 0.
        stdin: OwnedFd,
        /// Descriptor 1.
        stdout: OwnedFd,
        /// Descriptor 2.
        stderr: OwnedFd,
    },
    /// A new pseudo terminal of the sandbox's own `/dev/pts`, controlling and foreground.
    Terminal {
        /// Width in characters.
        columns: u16,
        /// Height in characters.
        rows: u16,
    },
}

impl Stdio {
    /// Reads nothing, and writes into `/dev/null`.
    pub fn null() -> io::Result<Self> {
        let open = || std::fs::File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
        Ok(Self::Descriptors { stdin: open()?, stdout: open()?, stderr: open()? })
    }

    /// Reads nothing; both outputs go to `output`.
    pub fn logged(output: OwnedFd) -> io::Result<Self> {
        let stdin = std::fs::File::open("/dev/null")?.into();
        Ok(Self::Descriptors { stdin, stderr: output.try_clone()?, stdout: output })
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It called `exit`.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
}

impl ExitStatus {
    /// The code a shell would report: 128 + the signal's number where a signal ended it.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }

    /// The signal that ended it, if one did.
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Code(_) => None,
            Self::Signal(signal) => Some(signal),
        }
    }

    pub(super) fn from_wait(status: i32) -> Self {
        match libc::WIFSIGNALED(status) {
            true => Self::Signal(libc::WTERMSIG(status)),
            false => Self::Code(libc::WEXITSTATUS(status)),
        }
    }
}

/// Starts processes in one sandbox. Cheap to clone.
#[derive(Clone)]
pub struct Spawner {
    pub(super) control: Arc<Control>,
}

impl Spawner {
    /// Starts a process: own session and process group, no capabilities, no new privileges, no core dumps, as the
    /// sandbox's user. Refuses when the program can't be executed or the sandbox is gone.
    pub async fn spawn(&self, request: SpawnRequest) -> Result<Child, SpawnError> {
        let program = request.argv.first().cloned().ok_or(SpawnError::NoCommand)?;
        self.start(program, request, None).await
    }

    /// Does work of ours inside, in a process that is confined as every other.
    pub async fn spawn_task(&self, task: Task, cwd: PathBuf, stdio: Stdio) -> Result<Child, SpawnError> {
        let request = SpawnRequest { argv: Vec::new(), env: BTreeMap::new(), cwd, stdio };
        self.start("a task of the supervisor".to_owned(), request, Some(task)).await
    }

    /// Connects to a TCP port on the sandbox's loopback: IPv4 first, then IPv6.
    pub async fn dial(&self, port: u16) -> io::Result<TcpStream> {
        let (ours, theirs) = sys::packet_pair()?;
        let null = || std::fs::File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
        let stdio = Stdio::Descriptors { stdin: theirs, stdout: null()?, stderr: null()? };
        let mut child = self.spawn_task(Task::Dial { port }, "/".into(), stdio).await.map_err(io::Error::other)?;
        match child.wait().await.map_err(io::Error::other)? {
            ExitStatus::Code(0) => {}
            // Error numbers of sockets fit into an exit code.
            ExitStatus::Code(errno) => return Err(io::Error::from_raw_os_error(errno)),
            ExitStatus::Signal(_) => return Err(io::ErrorKind::Interrupted.into()),
        }
        let (_, mut sockets) = sys::receive_packet(ours.as_fd(), &mut [0], 1)?;
        let socket = std::net::TcpStream::from(sockets.pop().ok_or(io::ErrorKind::UnexpectedEof)?);
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        TcpStream::from_std(socket)
    }

    async fn start(&self, program: String, request: SpawnRequest, task: Option<Task>) -> Result<Child, SpawnError> {
        let directory = request.cwd.clone();
        let control = self.control.clone();
        let (id, started, exited) = control.expect();
        let forgotten = Forget { control: control.clone(), id, armed: true };
        tokio::task::spawn_blocking(move || send_spawn(&control, id, request, task))
            .await
            .map_err(|join| SpawnError::Control(io::Error::other(join)))?
            .map_err(SpawnError::Control)?;
        let started = started.await.map_err(|_| SpawnError::Gone)?;
        let (pid, terminal) = started.map_err(|refused| match refused {
            NotStarted { directory: true, source } => SpawnError::Directory { directory, source },
            NotStarted { directory: false, source } => SpawnError::Exec { program, source },
        })?;
        let pty = terminal.map(Pty::new).transpose().map_err(SpawnError::Control)?;
        forgotten.keep();
        Ok(Child { pid, id, pty, exited, control: self.control.clone() })
    }

    /// Resolves when the sandbox has ended, for whatever reason.
    pub async fn ended(&self) {
        self.control.ended().await;
    }

    /// Ends the sandbox: every process in it dies at once.
    pub fn kill(&self) {
        self.control.kill();
    }
}

fn send_spawn(control: &Control, id: u64, request: SpawnRequest, task: Option<Task>) -> io::Result<()> {
    let (terminal, streams) = match request.stdio {
        Stdio::Terminal { columns, rows } => (Some((columns, rows)), Vec::new()),
        Stdio::Descriptors { stdin, stdout, stderr } => (None, vec![stdin, stdout, stderr]),
    };
    let program = wire::document(&Program { argv: request.argv, env: request.env, cwd: request.cwd, terminal, task })?;
    let mut fds = vec![program.as_fd()];
    fds.extend(streams.iter().map(|stream| stream.as_fd()));
    control.send(&Command::Spawn { id }, &fds)
}

/// Takes back the expectation of an answer when the spawn fails or its future is dropped.
struct Forget {
    control: Arc<Control>,
    id: u64,
    armed: bool,
}

impl Forget {
    fn keep(mut self) {
        self.armed = false;
    }
}

impl Drop for Forget {
    fn drop(&mut self) {
        if self.armed {
            self.control.forget(self.id);
        }
    }
}

/// A process that init started. Dropping it leaves the process running.
pub struct Child {
    /// Process id inside the sandbox; also its process group.
    pub pid: i32,
    /// Its terminal, if it was given one.
    pub pty: Option<Pty>,
    id: u64,
    exited: oneshot::Receiver<i32>,
    control: Arc<Control>,
}

impl Child {
    /// Waits for its end. Refuses a second time, and when the sandbox ends first.
    pub async fn wait(&mut self) -> Result<ExitStatus, SpawnError> {
        (&mut self.exited).await.map(ExitStatus::from_wait).map_err(|_| SpawnError::Gone)
    }

    /// Sends a signal to its process group. A group that has ended already is no error.
    pub fn signal(&self, signal: i32) -> Result<(), SpawnError> {
        self.signaller().signal(signal)
    }

    /// A handle that signals the process, for use while another task waits.
    pub fn signaller(&self) -> Signaller {
        Signaller { id: self.id, control: self.control.clone() }
    }
}

/// Signals one process group.
#[derive(Clone)]
pub struct Signaller {
    id: u64,
    control: Arc<Control>,
}

impl Signaller {
    /// Sends a signal. A group that has ended already is no error.
    pub fn signal(&self, signal: i32) -> Result<(), SpawnError> {
        self.control.send(&Command::Signal { id: self.id, signal }, &[]).map_err(SpawnError::Control)
    }
}

/// The master side of a pseudo terminal.
pub struct Pty {
    master: Arc<AsyncFd<OwnedFd>>,
}

impl Pty {
    fn new(master: OwnedFd) -> io::Result<Self> {
        sys::set_nonblocking(master.as_fd())?;
        Ok(Self { master: Arc::new(sys::watch(master)?) })
    }

    /// Another handle on the same terminal, so that reading and writing may happen in different tasks.
    pub fn handle(&self) -> Self {
        Self { master: self.master.clone() }
    }

    /// Reads what the programs wrote; 0 when the last of them has closed the terminal.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.master.readable().await?;
            match ready.try_io(|master| sys::read(master.get_ref().as_fd(), buffer)) {
                // Linux answers EIO once the other side is closed.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Ok(0),
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    /// Types all of `bytes`.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.master.writable().await?;
            if let Ok(result) = ready.try_io(|master| sys::write(master.get_ref().as_fd(), bytes)) {
                bytes = &bytes[result?..];
            }
        }
        Ok(())
    }

    /// Tells the programs the terminal's new size.
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        sys::set_terminal_size(self.master.get_ref().as_fd(), columns, rows)
    }
}
