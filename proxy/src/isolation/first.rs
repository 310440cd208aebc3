//! The first process of a container: the kernel gives it orphans to reap and ignores signals it does not handle, so it
//! does nothing else. The supervisor is its child; when that ends, so does the container.

use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::init::may_make_namespaces;
use super::sys;

/// Ends the container: it could not start.
const NOT_STARTED: u8 = 10;
/// Ends the container: the supervisor has neither the capabilities to raise its walls nor a user namespace.
const NO_USER_NAMESPACE: u8 = 12;

/// What a container is asked to do, and what ends with its terminal.
const PASSED_ON: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// Divides the process in two. `None`: this is the child, which goes on as the supervisor. Else the child has ended, or
/// was never made, and this is the code to exit with. Must be called before any thread exists.
pub fn enter() -> Option<ExitCode> {
    if let Err(error) = may_make_namespaces() {
        eprintln!("the walls can't be raised in this container: {error}");
        return Some(NO_USER_NAMESPACE.into());
    }
    match divide() {
        Ok(None) => None,
        Ok(Some(code)) => Some(code.into()),
        Err(error) => {
            eprintln!("the container's first process: {error}");
            Some(NOT_STARTED.into())
        }
    }
}

fn divide() -> std::io::Result<Option<u8>> {
    let mut mask: SigSet = PASSED_ON.into_iter().collect();
    mask.add(Signal::SIGCHLD);
    // Blocked before there is a child, so that its end can't be missed.
    mask.thread_block()?;
    match sys::fork()? {
        0 => {
            mask.thread_unblock()?;
            Ok(None)
        }
        child => Ok(Some(mind(Pid::from_raw(child), &mask)?)),
    }
}

/// Reaps whatever ends and passes signals on until the child has ended; its exit code, or 128 + n if signal n ended it.
fn mind(child: Pid, mask: &SigSet) -> std::io::Result<u8> {
    loop {
        match mask.wait()? {
            Signal::SIGCHLD => loop {
                match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                    Ok(WaitStatus::Exited(pid, code)) if pid == child => return Ok(code as u8),
                    Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => return Ok(128 + signal as i32 as u8),
                    Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
            },
            // It may have ended just now.
            signal => {
                let _ = kill(child, signal);
            }
        }
    }
}
