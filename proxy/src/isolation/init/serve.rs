//! What PID 1 does for the rest of its life: start, signal, reap.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command as Process, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::tasks;
use super::user::User;
use crate::isolation::wire::{self, Command, Program, Report};
use crate::isolation::{probe, sys};

/// Serves until the supervisor is gone. Returning ends PID 1, and so every process of the sandbox.
pub(super) fn serve(socket: OwnedFd, user: &User) -> i32 {
    match Server::new(socket, user).and_then(|mut server| server.run()) {
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
    /// Leaders that live, by process id.
    ids: HashMap<i32, u64>,
    pids: HashMap<u64, i32>,
}

impl<'a> Server<'a> {
    fn new(socket: OwnedFd, user: &'a User) -> io::Result<Self> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { socket, signals, user, ids: HashMap::new(), pids: HashMap::new() })
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
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
                    wire::send(self.socket.as_fd(), &Report::Refused { id, errno }, &[])
                }
            },
            Command::Probe { id } => match self.probe(fds) {
                Ok(pid) => {
                    self.ids.insert(pid, id);
                    self.pids.insert(id, pid);
                    wire::send(self.socket.as_fd(), &Report::Spawned { id, pid }, &[])
                }
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
                    wire::send(self.socket.as_fd(), &Report::Refused { id, errno }, &[])
                }
            },
            Command::Signal { id, signal } => {
                if let Some(pid) = self.pids.get(&id) {
                    sys::signal_group(*pid, signal);
                }
                Ok(())
            }
        }
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
        command.args(arguments).env_clear().envs(&program.env).current_dir(&program.cwd);
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
        sys::before_exec(&mut command, self.user.confinement(master.is_some()));
        Ok((command.spawn()?.id() as i32, master))
    }

    /// Forks a probe: confined like a workload, then [`probe::serve`]. The child never returns.
    fn probe(&self, fds: Vec<OwnedFd>) -> io::Result<i32> {
        let [targets, go, results, handle] =
            <[OwnedFd; 4]>::try_from(fds).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
        let pid = sys::fork()?;
        if pid != 0 {
            return Ok(pid);
        }
        let mut confine = self.user.confinement(false);
        let kept = [targets.as_fd(), go.as_fd(), results.as_fd(), handle.as_fd()];
        let confined = sys::silence().and_then(|()| sys::close_all_but(&kept)).and_then(|()| confine());
        // A workload becomes visible to its own user by executing; so does the probe.
        let confined = confined.and_then(|()| sys::prctl(libc::PR_SET_DUMPABLE, 1));
        let serve = || confined.and_then(|()| probe::serve(targets, go, results, handle));
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
