//! System calls that no library offers, made to be refused. Every function here is safe to call: `unsafe` stays inside,
//! and each block says why it holds.

use std::io;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::isolation::sys;

/// Makes a call whose arguments are numbers, descriptors or null pointers. Not for calls that return twice.
pub(super) fn attempt(number: libc::c_long, arguments: [i64; 4]) -> io::Result<i64> {
    let [first, second, third, fourth] = arguments;
    // SAFETY: no argument points to memory of ours, so the kernel can at most read from address 0 and fail.
    let result = unsafe { libc::syscall(number, first, second, third, fourth, 0i64, 0i64) };
    sys::check(result)
}

/// Tries to fork into a user namespace of its own. A child that comes to be ends at once.
pub(super) fn clone_into_user_namespace() -> io::Result<i64> {
    let flags = i64::from(libc::CLONE_NEWUSER | libc::SIGCHLD);
    match attempt(libc::SYS_clone, [flags, 0, 0, 0])? {
        0 => std::process::exit(0),
        child => Ok(child),
    }
}

/// What became of something done in a child of its own.
pub(super) enum Ended {
    /// It returned this.
    Returned(i32),
    /// The kernel ended it.
    Killed(String),
}

/// Does something that may be fatal in a child, and waits for it.
pub(super) fn apart(act: impl FnOnce() -> u8) -> io::Result<Ended> {
    let child = sys::fork()?;
    if child == 0 {
        std::process::exit(i32::from(act()));
    }
    match waitpid(Pid::from_raw(child), None)? {
        WaitStatus::Exited(_, code) => Ok(Ended::Returned(code)),
        WaitStatus::Signaled(_, signal, _) => Ok(Ended::Killed(signal.to_string())),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}

/// `getpid` by the 32-bit entry point; negative: an `errno`.
#[cfg(target_arch = "x86_64")]
pub(super) fn getpid_32() -> i32 {
    /// Of the i386 table.
    const GETPID: i64 = 20;
    let result: i64;
    // SAFETY: the call takes no arguments and touches no memory; the registers that the entry may change are named.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inlateout("rax") GETPID => result,
            lateout("rcx") _, lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    result as i32
}
