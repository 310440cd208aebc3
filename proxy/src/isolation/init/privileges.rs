//! What init gives up for itself and, finally, for each process it starts.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid};

use super::user::User;
use crate::isolation::{LIMITS, sys};

/// Soft limit of open descriptors that programs expect: `select(2)` goes no further. One that wants more raises it.
const USUAL_DESCRIPTORS: u64 = 1024;
/// Of 1000, at which a process is killed first of all.
const EXPENDABLE: i32 = 500;

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

/// Between fork and exec: a session of its own, the workload's user, no capabilities left and none to regain. Killed before the supervisor
/// where memory runs out.
pub(super) fn confine(uid: u32, gid: u32, privileged: bool, terminal: bool) -> io::Result<()> {
    be_expendable();
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

/// Where memory runs out, the kernel kills what the workload runs before it kills the supervisor (proc_pid_oom_score_adj(5)). A program may take that back for itself; whatever dies then, nothing leaks.
fn be_expendable() {
    const PATH: &str = "/proc/self/oom_score_adj";
    let now = std::fs::read_to_string(PATH).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if now.is_none_or(|now| now < EXPENDABLE) {
        // Where that can't be said nothing is worse than without.
        let _ = std::fs::write(PATH, EXPENDABLE.to_string());
    }
}

impl User {
    /// [`confine`] for this user, free of borrows, to run in a forked child.
    pub(super) fn confinement(&self, terminal: bool) -> impl FnMut() -> io::Result<()> + Send + Sync + 'static {
        let (uid, gid, privileged) = (self.uid, self.gid, self.privileged);
        move || confine(uid, gid, privileged, terminal)
    }
}
