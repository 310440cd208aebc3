//! Work of ours inside the sandbox: a child of init that executes nothing, and is confined as every other process.
//!
//! It has the workload's user, filesystem view, Landlock rules and seccomp filter, so a mistake in it opens nothing that
//! the workload could not open itself. Init knows no secret, so its copied memory holds none.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use openshell_transfer::{Destination, pack, sftp, unpack};

use super::user::User;
use crate::isolation::sys;
use crate::isolation::wire::Task;

/// Exit code of a task that failed; what failed is said on standard error.
const FAILED: i32 = 1;

/// Starts a task with these standard streams; answers the child's process id.
pub(super) fn start(task: &Task, cwd: &Path, stdio: [OwnedFd; 3], user: &User) -> io::Result<i32> {
    match sys::fork()? {
        0 => {
            // Nothing of this may run init's own code again, whatever happens.
            let code = catch_unwind(AssertUnwindSafe(|| run(task, cwd, stdio, user))).unwrap_or(FAILED);
            sys::exit_at_once(code)
        }
        pid => Ok(pid),
    }
}

fn run(task: &Task, cwd: &Path, stdio: [OwnedFd; 3], user: &User) -> i32 {
    let prepared = sys::become_stdio(stdio)
        .and_then(|()| sys::close_from(3))
        .and_then(|()| sys::unblock_signals())
        // One that is hung up sees the end of its input, and removes what it had begun to write.
        .and_then(|()| sys::ignore(libc::SIGHUP))
        .and_then(|()| user.confinement(false)())
        .and_then(|()| std::env::set_current_dir(cwd));
    let done = prepared.map_err(|error| error.to_string()).and_then(|()| match task {
        Task::Pack { path } => pack(path, io::BufWriter::new(sys::standard_output())).map(drop).map_err(text),
        Task::Unpack { path } => unpack(io::stdin().lock(), &Destination::choose(path)).map(drop).map_err(text),
        Task::Sftp => sftp::serve(io::stdin().lock(), sys::standard_output()).map_err(text),
        Task::Dial { port } => sys::exit_at_once(dial(*port, user)),
    });
    match done {
        Ok(()) => 0,
        Err(reason) => {
            let _ = writeln!(io::stderr(), "{reason}");
            FAILED
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Connects and hands the socket over; answers 0 or the error's number.
fn dial(port: u16, user: &User) -> i32 {
    // Init's children can't be looked at, and a door without privileges must. Whoever else looks in here could hand over another
    // socket of the sandbox instead, and could listen on the port as well.
    if !user.privileged
        && let Err(error) = sys::prctl(libc::PR_SET_DUMPABLE, 1)
    {
        return error.raw_os_error().unwrap_or(libc::EIO);
    }
    let connected = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
        .into_iter()
        .map(|ip| TcpStream::connect(SocketAddr::new(ip, port)))
        .reduce(|first, second| first.or_else(|error| second.map_err(|_| error)));
    let sent = match connected {
        Some(Ok(socket)) => sys::send_packet(io::stdin().as_fd(), &[0], &[socket.as_fd()]),
        Some(Err(error)) => Err(error),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    match sent {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    }
}
