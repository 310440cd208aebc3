//! Who a process is, from the kernel.
//!
//! [`Identifier::identify`] reads the process while it is stopped inside a caught call, so nothing it reads can change
//! under it. The cost depends on the process's depth, never on how many processes there are. What can change (executable,
//! user, whose child it is) is looked at each time, its arguments whenever it has executed something.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use openshell_policy_host::Process;

use crate::caller::Caller;

mod digest;
mod known;
mod memory;
mod script;
mod status;
#[cfg(test)]
mod tests;

use digest::{Digests, Version};
use known::Processes;
use status::Status;

/// Most descriptors that an [`Identifier`] keeps open.
pub const DESCRIPTORS: u64 = 2 * known::KEPT;
/// What the kernel appends to the path of an executable that was unlinked.
const DELETED: &str = " (deleted)";
/// Longest argv kept, in bytes; the rest is cut off.
const ARGUMENTS: u64 = 64 * 1024;

/// What a file of `/proc` usually fits in, in bytes.
const ROOM: usize = 4096;

/// Identifies the processes of one sandbox.
pub struct Identifier {
    processes: Processes,
    digests: Digests,
}

impl Identifier {
    /// For the sandbox whose init has this process id.
    pub fn new(init: i32) -> Self {
        Self { processes: Processes::new(init), digests: Digests::default() }
    }

    /// Identifies the process of a thread (ids as numbered on the host). Fails when any part of it can't be read: a
    /// caller is known or it is not. Calls `long` before what may take long.
    pub fn identify(&self, thread: u32, long: impl FnOnce()) -> io::Result<Arc<Caller>> {
        let (known, version) = self.processes.find(thread)?;
        let proc = &known.proc;
        let uid = proc.user()?;
        let ancestors = self.processes.ancestors(thread, &known);
        if let Some(caller) = known.caller(version)
            && (caller.uid, &caller.ancestors) == (uid, &ancestors)
        {
            return Ok(caller);
        }
        let executable = proc.executable()?;
        let digest = self.digests.of(proc, version, long)?;
        let arguments = proc.arguments()?;
        let script = script::find(&executable, &arguments, || proc.link("cwd"));
        let process = Process { executable, digest, script };
        let caller = Arc::new(Caller { process, pid: known.inner_pid, uid, arguments, ancestors });
        known.remember(version, &caller);
        Ok(caller)
    }
}

/// The process of a thread and its parent, if it has one that can be read: each as numbered in its innermost namespace.
pub fn inner_pids(thread: u32) -> io::Result<(u32, Option<u32>)> {
    let status = Proc::open(thread)?.status()?;
    let parent = u32::try_from(status.parent).ok().and_then(|pid| Proc::open(pid).ok()?.status().ok());
    Ok((status.inner_pid, parent.map(|parent| parent.inner_pid)))
}

/// One `/proc/<id>` directory, held open: it stays this process's even when the number is used again.
struct Proc {
    directory: OwnedFd,
}

impl Proc {
    fn open(id: u32) -> io::Result<Self> {
        Ok(Self { directory: fs::File::open(format!("/proc/{id}"))?.into() })
    }

    fn open_file(&self, name: &str) -> io::Result<fs::File> {
        use nix::fcntl::{OFlag, openat};
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        Ok(openat(&self.directory, name, flags, nix::sys::stat::Mode::empty())?.into())
    }

    fn read(&self, name: &str, most: u64) -> io::Result<Vec<u8>> {
        // Room for all of it at once: each read makes the kernel write the file anew.
        let mut bytes = Vec::with_capacity(ROOM);
        io::Read::read_to_end(&mut io::Read::take(self.open_file(name)?, most), &mut bytes)?;
        Ok(bytes)
    }

    fn link(&self, name: &str) -> io::Result<String> {
        Ok(nix::fcntl::readlinkat(&self.directory, name)?.to_string_lossy().into_owned())
    }

    /// Its effective user, as the kernel says of the directory (unlike of what is in it) whatever may be traced or dumped.
    fn user(&self) -> io::Result<u32> {
        Ok(nix::sys::stat::fstat(&self.directory)?.st_uid)
    }

    /// The file that it executes.
    fn executed(&self) -> io::Result<Version> {
        Ok(nix::sys::stat::fstatat(&self.directory, "exe", nix::fcntl::AtFlags::empty())?.into())
    }

    fn status(&self) -> io::Result<Status> {
        Status::parse(&String::from_utf8_lossy(&self.read("status", 16 * 1024)?))
    }

    /// What it executes, as a path inside the sandbox: the kernel writes it from the root of the mount namespace that the file was
    /// opened in.
    fn executable(&self) -> io::Result<String> {
        let path = self.link("exe")?;
        let path = path.strip_suffix(DELETED).map(str::to_string).unwrap_or(path);
        match Path::new(&path).is_absolute() {
            true => Ok(path),
            // A memfd, for one: it has no path that a rule could mean.
            false => Ok(String::new()),
        }
    }

    fn arguments(&self) -> io::Result<Vec<String>> {
        let bytes = self.read("cmdline", ARGUMENTS)?;
        let text = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        if text.is_empty() {
            return Ok(Vec::new());
        }
        Ok(text.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect())
    }
}
