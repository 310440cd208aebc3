//! Who a process is, from the kernel.
//!
//! [`Identifier::identify`] reads the process while it is stopped inside a caught call, so nothing it reads can change
//! under it. The cost depends on the process's depth, never on how many processes there are.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use openshell_policy_host::Process;

use crate::caller::Caller;

mod digest;
mod script;
mod status;
#[cfg(test)]
mod tests;

use digest::Digests;
use status::Status;

/// What the kernel appends to the path of an executable that was unlinked.
const DELETED: &str = " (deleted)";
/// Longest chain of ancestors reported.
const DEEPEST: usize = 64;
/// Longest argv kept, in bytes; the rest is cut off.
const ARGUMENTS: u64 = 64 * 1024;

/// What a file of `/proc` usually fits in, in bytes.
const ROOM: usize = 4096;

/// Identifies the processes of one sandbox. Digests are kept across calls.
pub struct Identifier {
    /// Process id of the sandbox's init, as numbered on the host; where ancestry ends.
    init: i32,
    digests: Digests,
}

impl Identifier {
    /// For the sandbox whose init has this process id.
    pub fn new(init: i32) -> Self {
        Self { init, digests: Digests::default() }
    }

    /// Identifies the process of a thread (ids as numbered on the host). Fails when any part of it can't be read: a
    /// caller is known or it is not.
    pub fn identify(&self, thread: u32) -> io::Result<Arc<Caller>> {
        let proc = Proc::open(thread)?;
        let status = proc.status()?;
        let executable = proc.executable()?;
        let digest = self.digests.of(proc.open_file("exe")?)?;
        let arguments = proc.arguments()?;
        let script = script::find(&executable, &arguments, || proc.link("cwd"));
        let process = Process { executable, digest, script };
        let ancestors = self.ancestors(status.parent);
        Ok(Arc::new(Caller { process, pid: status.inner_pid, uid: status.uid, arguments, ancestors }))
    }

    /// Executables of the ancestors below init. One that ends while we look ends the chain.
    fn ancestors(&self, mut pid: i32) -> Vec<String> {
        let mut found = Vec::new();
        while pid > 1 && pid != self.init && found.len() < DEEPEST {
            let Ok((executable, parent)) = ancestor(pid) else { break };
            found.push(executable);
            pid = parent;
        }
        found
    }
}

/// The process of a thread and its parent, if it has one that can be read: each as numbered in its innermost namespace.
pub fn inner_pids(thread: u32) -> io::Result<(u32, Option<u32>)> {
    let status = Proc::open(thread)?.status()?;
    let parent = u32::try_from(status.parent).ok().and_then(|pid| Proc::open(pid).ok()?.status().ok());
    Ok((status.inner_pid, parent.map(|parent| parent.inner_pid)))
}

fn ancestor(pid: i32) -> io::Result<(String, i32)> {
    let proc = Proc::open(u32::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?)?;
    Ok((proc.executable()?, proc.status()?.parent))
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

    fn status(&self) -> io::Result<Status> {
        Status::parse(&String::from_utf8_lossy(&self.read("status", 16 * 1024)?))
    }

    /// The path inside the sandbox: the kernel writes it from the root of the mount namespace that the file was
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
