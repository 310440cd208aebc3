//! What init gives up for itself and, finally, for each process it starts.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid};

use super::user::User;
use crate::isolation::{LIMITS, sys};

/// Soft limit of open descriptors that programs expect: `select(2)` goes no further. One that wants more raises it.
const USUAL_DESCRIPTORS: u64 = 1024;

/// For init and everything after it: nobody but the kernel reads its memory, nothing is gained by executing, nothing
/// dumps core or takes more than [`LIMITS`].
pub(super) fn harden() -> io::Result<()> {
    sys::prctl(libc::PR_SET_DUMPABLE, 0)?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    for (resource, most) in LIMITS {
        let (soft, hard) = getrlimit(resource)?;
        let hard = hard.min(most);
        let soft = if resource == Resource::RLIMIT_NOFILE { soft.min(USUAL_DESCRIPTORS) } else { soft };
        setrlimit(resource, soft.min(hard), hard)?;
    }
    Ok(())
}

/// Between fork and exec: a session of its own, the workload's user, no capabilities left and none to regain.
pub(super) fn confine(uid: u32, gid: u32, privileged: bool, terminal: bool) -> io::Result<()> {
    setsid()?;
    if terminal {
        sys::take_terminal()?;
    }
    sys::seal_capability_bounds()?;
    if privileged {
        let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
        setgroups(&[group])?;
        setresgid(group, group, group)?;
        setresuid(user, user, user)?;
    }
    sys::drop_capabilities()?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

impl User {
    /// [`confine`] for this user, free of borrows, to run in a forked child.
    pub(super) fn confinement(&self, terminal: bool) -> impl FnMut() -> io::Result<()> + Send + Sync + 'static {
        let (uid, gid, privileged) = (self.uid, self.gid, self.privileged);
        move || confine(uid, gid, privileged, terminal)
    }
}
