//! Whether a process still executes what it did.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::Proc;

/// The memory that a process had when this was made. `execve(2)` gives it another, and the last process that had this one
/// ends it: `/proc/<id>/mem`, opened before, then reads as an empty file (proc_pid_mem(5)).
///
/// A process that shares its memory with others (`clone(2)` with `CLONE_VM`) would keep it alive for one that has left it.
/// After `vfork(2)` that is the parent, and there is no `Memory` then. Whoever arranges it in other ways is what it seems to be
/// already, and gains that its arguments are told as they were: it could have written there what it liked.
pub(super) struct Memory(File);

impl Memory {
    /// `None`: it may be shared with the parent, or can't be watched.
    pub fn of(proc: &Proc, thread: u32, parent: i32) -> Option<Self> {
        let memory = proc.open_file("mem").ok()?;
        differ(i32::try_from(thread).ok()?, parent)?.then_some(Self(memory))
    }

    /// Whether a process has it still.
    pub fn lives(&self) -> bool {
        // Nothing is mapped where nothing may be: a live memory says EIO there.
        match self.0.read_at(&mut [0], 0) {
            Ok(read) => read != 0,
            Err(error) => error.raw_os_error() == Some(libc::EIO),
        }
    }
}

/// Whether two processes have different memories, by kcmp(2); `None`: the kernel won't say.
fn differ(one: i32, other: i32) -> Option<bool> {
    /// `KCMP_VM` of the kernel's `kcmp.h`.
    const MEMORY: libc::c_int = 1;
    // SAFETY: plain numbers.
    match unsafe { libc::syscall(libc::SYS_kcmp, one, other, MEMORY, 0, 0) } {
        0 => Some(false),
        1..=3 => Some(true),
        _ => None,
    }
}
