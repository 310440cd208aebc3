//! Init: the sandbox's PID 1. Single-threaded, and the only part that runs with privileges inside.
//!
//! [`main`] runs in two processes: the *guard*, which leaves the host's namespaces and waits, and *init* proper, which
//! builds the walls, hands the sockets to the supervisor and then only starts and reaps processes.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};

use super::wire::{self, Report, Setup};
use super::{Wall, landlock, seccomp, sys};

mod concealed;
mod mounts;
mod overlays;
mod privileges;
mod serve;
mod sockets;
mod tasks;
mod user;

pub(super) use user::may_make_namespaces;
pub use user::{DEFAULT_UID, USER_NAME};

use user::User;

/// Why init gives up.
enum Failure {
    Step { step: &'static str, detail: String },
    Degraded { wall: Wall, detail: String },
}

/// Names the step of a failure.
trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, Failure>;
}

impl<T, E: Display> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure::Step { step, detail: error.to_string() })
    }
}

/// Becomes the guard and the init of a sandbox; `fd` is the control socket. Call it first thing in `main`, before any
/// thread exists. Whatever fails is told to the supervisor, and nothing is left running.
pub fn main(fd: RawFd) -> ! {
    let code = match sys::take_control_socket(fd) {
        Ok(socket) => guard(socket),
        Err(_nobody_to_tell) => 2,
    };
    std::process::exit(code)
}

fn guard(socket: OwnedFd) -> i32 {
    let entered = (|| {
        // Before anything else: from here on, the supervisor's death is ours.
        sys::die_with_parent().step("arming the parent-death signal")?;
        let setup = receive_setup(socket.as_fd()).step("reading the setup")?;
        let user = User::choose(&setup).step("choosing the workload's user")?;
        let mounts = mounts::Plan::new(&setup).step("planning the filesystem view")?;
        user.enter_namespaces().step("creating the namespaces")?;
        let pid = sys::fork().step("forking init")?;
        Ok((pid, setup, user, mounts))
    })();
    match entered {
        Ok((0, setup, user, mounts)) => init(socket, &setup, &user, &mounts),
        Ok((pid, ..)) => {
            if wire::send(socket.as_fd(), &Report::Forked { pid }, &[]).is_err() {
                return 1;
            }
            // Only init may hold the socket, or its end would go unnoticed.
            drop(socket);
            sys::wait_for(pid)
        }
        Err(failure) => give_up(socket.as_fd(), failure),
    }
}

fn receive_setup(socket: BorrowedFd<'_>) -> io::Result<Setup> {
    let received = wire::receive::<()>(socket)?.and_then(|((), mut fds)| fds.pop());
    wire::read_document(received.ok_or(io::ErrorKind::UnexpectedEof)?)
}

fn give_up(socket: BorrowedFd<'_>, failure: Failure) -> i32 {
    let report = match failure {
        Failure::Step { step, detail } => Report::Failed { step: step.into(), detail },
        Failure::Degraded { wall, detail } => Report::Degraded { wall, detail },
    };
    // If the supervisor is gone as well, there is nobody left to tell.
    let _ = wire::send(socket, &report, &[]);
    1
}

fn init(socket: OwnedFd, setup: &Setup, user: &User, mounts: &mounts::Plan) -> i32 {
    match seal(socket.as_fd(), setup, user, mounts) {
        Ok(()) => serve::serve(socket, user, mounts),
        Err(failure) => give_up(socket.as_fd(), failure),
    }
}

fn seal(socket: BorrowedFd<'_>, setup: &Setup, user: &User, mounts: &mounts::Plan) -> Result<(), Failure> {
    let mut degraded = Vec::new();
    let mut missing = |wall: Wall, detail: String| match setup.allow_degraded.contains(&wall) {
        true => {
            degraded.push(wall);
            Ok(())
        }
        false => Err(Failure::Degraded { wall, detail }),
    };
    sys::die_with_parent().step("arming the parent-death signal")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    nix::unistd::sethostname(&setup.hostname).step("setting the host name")?;
    sys::raise_loopback().step("raising the loopback interface")?;
    let sockets = sockets::Sockets::bind(setup.proxy_port).step("binding the proxy's sockets")?;

    mounts.enter_base().step("leaving the host's filesystem")?;
    if let Err(error) = mounts.mount_proc() {
        missing(Wall::PrivateProc, error.to_string())?;
        mounts.bind_proc().step("showing /proc")?;
    }
    mounts.build().step("building the filesystem view")?;
    mounts.enter_view().step("entering the filesystem view")?;
    overlays::raise(setup, user).step("placing the sandbox's own files")?;
    mounts.close().step("closing the filesystem view")?;

    privileges::harden().step("hardening init")?;
    let (mut read_only, read_write) = mounts.visible();
    read_only.extend(setup.overlays.iter().map(|overlay| overlay.path.clone()));
    if let Err(error) = landlock::restrict(&read_only, &read_write, setup.walls.strict) {
        missing(Wall::Landlock, error.to_string())?;
    }
    let notify = sys::install_filter(&seccomp::program()).step("installing the seccomp filter")?;
    let report = Report::Sealed { uid: user.uid, gid: user.gid, degraded };
    let mut fds = vec![notify.as_fd()];
    fds.extend(sockets.descriptors());
    wire::send(socket, &report, &fds).step("handing over the sockets")
}
