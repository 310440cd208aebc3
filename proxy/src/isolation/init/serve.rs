//! What PID 1 does for the rest of its life: start, signal, reap.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command as Process, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::mounts::Plan;
use super::tasks;
use super::user::User;
use crate::isolation::probe::{self, Targets};
use crate::isolation::sys;
use crate::isolation::wire::{self, Command, Program, Report};

/// Marks an error number of the working directory's, not of the program's. Above all numbers there are.
const NO_DIRECTORY: i32 = 1 << 16;

/// Serves until the supervisor is gone. Returning ends PID 1, and so every process of the sandbox.
pub(super) fn serve(socket: OwnedFd, user: &User, view: &Plan) -> i32 {
    match Server::new(socket, user, view).and_then(|mut server| server.run()) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("sandbox init: {error}");
            1
        }
    }
}

struct Server<'a> {
    socket: OwnedFd,
    signals: SignalFd,
    user: &'a User,
    view: &'a Plan,
    /// Leaders that live, by process id.
    ids: HashMap<i32, u64>,
    pids: HashMap<u64, i32>,
}

impl<'a> Server<'a> {
    fn new(socket: OwnedFd, user: &'a User, view: &'a Plan) -> io::Result<Self> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { socket, signals, user, view, ids: HashMap::new(), pids: HashMap::new() })
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            let mut ready = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [socket, signals] = ready.map(|fd| fd.any().unwrap_or(true));
            if signals {
                while self.signals.read_signal()?.is_some() {}
                self.reap()?;
            }
            if socket {
                match wire::receive(self.socket.as_fd())? {
                    Some((command, fds)) => self.obey(command, fds)?,
                    None => return Ok(()),
                }
            }
        }
    }

    fn obey(&mut self, command: Command, fds: Vec<OwnedFd>) -> io::Result<()> {
        match command {
            Command::Spawn { id } => match self.start(fds) {
                Ok((pid, master)) => {
                    self.ids.insert(pid, id);
                    self.pids.insert(id, pid);
                    let fds: Vec<_> = master.iter().map(|fd| fd.as_fd()).collect();
                    wire::send(self.socket.as_fd(), &Report::Spawned { id, pid }, &fds)
                }
                Err(error) => self.refuse(id, &error),
            },
            Command::Probe { id } => match self.probe(fds) {
                Ok(pid) => {
                    self.ids.insert(pid, id);
                    self.pids.insert(id, pid);
                    wire::send(self.socket.as_fd(), &Report::Spawned { id, pid }, &[])
                }
                Err(error) => self.refuse(id, &error),
            },
            Command::Signal { id, signal } => {
                if let Some(pid) = self.pids.get(&id) {
                    sys::signal_group(*pid, signal);
                }
                Ok(())
            }
        }
    }

    fn refuse(&self, id: u64, error: &io::Error) -> io::Result<()> {
        let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
        let refused = Report::Refused { id, errno: errno & !NO_DIRECTORY, directory: errno & NO_DIRECTORY != 0 };
        wire::send(self.socket.as_fd(), &refused, &[])
    }

    fn start(&self, fds: Vec<OwnedFd>) -> io::Result<(i32, Option<OwnedFd>)> {
        let mut fds = fds.into_iter();
        let mut next = || fds.next().ok_or(io::Error::from_raw_os_error(libc::EBADF));
        let program: Program = wire::read_document(next()?)?;
        if let Some(task) = &program.task {
            let stdio = [next()?, next()?, next()?];
            return Ok((tasks::start(task, &program.cwd, stdio, self.user)?, None));
        }
        let (name, arguments) = program.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Process::new(name);
        command.args(arguments).env_clear().envs(&program.env);
        let master = match program.terminal {
            Some((columns, rows)) => {
                let (master, slave) = sys::open_terminal(columns, rows)?;
                if self.user.privileged {
                    std::os::unix::fs::fchown(&slave, Some(self.user.uid), Some(self.user.gid))?;
                }
                command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
                Some(master)
            }
            None => {
                command.stdin(Stdio::from(next()?)).stdout(Stdio::from(next()?)).stderr(Stdio::from(next()?));
                None
            }
        };
        let mut confine = self.user.confinement(master.is_some());
        let cwd = program.cwd;
        sys::before_exec(&mut command, move || {
            // A program inherits the mask of who starts it, and init has SIGCHLD blocked.
            sys::unblock_signals()?;
            // What a forked child fails with comes back as a number alone.
            let entered = std::env::set_current_dir(&cwd);
            entered.map_err(|error| {
                io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO) | NO_DIRECTORY)
            })?;
            confine()
        });
        Ok((command.spawn()?.id() as i32, master))
    }

    /// Forks a probe: confined like a workload, then [`probe::serve`]. The child never returns.
    ///
    /// The workload runs as the same user behind the same walls, so no descriptor of the probe's may be one that can be
    /// opened again through `/proc/PID/fd`: it reads the targets before it is confined, and tells what it found through a
    /// socket. Like init, it is not dumpable (`PR_SET_DUMPABLE`, ptrace(2)): its memory and descriptors are root's. Only a
    /// supervisor without privileges could not look at what it dials then; see [`probe::serve`].
    fn probe(&self, fds: Vec<OwnedFd>) -> io::Result<i32> {
        let mut fds = fds.into_iter();
        let (Some(targets), Some(socket), handle) = (fds.next(), fds.next(), fds.next()) else {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        };
        let pid = sys::fork()?;
        if pid != 0 {
            return Ok(pid);
        }
        let serve = || -> io::Result<()> {
            let mut targets: Targets = wire::read_document(targets)?;
            let (hidden, sockets) = self.view.concealed();
            targets.hidden.extend(hidden);
            targets.hidden.sort_unstable();
            targets.hidden.dedup();
            targets.sockets = sockets;
            sys::silence()?;
            let kept: Vec<_> = handle.iter().chain([&socket]).map(|fd| fd.as_fd()).collect();
            sys::close_all_but(&kept)?;
            self.user.confinement(false)()?;
            // The change of user left it as `/proc/sys/fs/suid_dumpable` says.
            sys::prctl(libc::PR_SET_DUMPABLE, 0)?;
            probe::serve(&targets, socket, handle, !self.user.privileged)
        };
        // Unwinding would go on as init.
        let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(serve));
        std::process::exit(i32::from(!matches!(served, Ok(Ok(())))))
    }

    fn reap(&mut self) -> io::Result<()> {
        while let Some((pid, status)) = sys::reap()? {
            if let Some(id) = self.ids.remove(&pid) {
                self.pids.remove(&id);
                wire::send(self.socket.as_fd(), &Report::Exited { id, status }, &[])?;
            }
        }
        Ok(())
    }
}
