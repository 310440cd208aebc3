//! Tries to get out of a sealed sandbox, from inside.
//!
//! Init forks the probe and confines it exactly as it confines a workload: the same namespaces, filesystem view, filter,
//! user, capabilities and limits. It runs no program, so it needs nothing in the image. Each attempt is one [`Finding`];
//! an attempt that succeeds is the proof that a wall is missing.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{Wall, sys};

mod calls;
mod checks;
mod files;
mod kernel;
mod network;
mod privileges;
#[cfg(test)]
mod tests;

pub(super) use checks::CHECKS;

/// Errors that are no refusal: the probe lacks something, or someone was there before. The workload can bring some of
/// them about, with prlimit(2).
const NO_REFUSAL: [Errno; 9] = [
    Errno::EEXIST,
    Errno::EMFILE,
    Errno::ENFILE,
    Errno::ENOMEM,
    Errno::ENOBUFS,
    Errno::EAGAIN,
    Errno::EINTR,
    Errno::ENOSPC,
    Errno::EDQUOT,
];

/// What the probe is told to aim at. Everything here exists outside, for the time of the probe.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Targets {
    /// Port of the proxy inside.
    pub proxy_port: u16,
    /// The workload's user and group.
    pub uid: u32,
    pub gid: u32,
    pub workspace: PathBuf,
    /// Paths that may be read and not written.
    pub read_only: Vec<PathBuf>,
    /// Paths that may be written.
    pub read_write: Vec<PathBuf>,
    /// The supervisor's own directories; init adds the other names that the view would show them by.
    pub hidden: Vec<PathBuf>,
    /// Sockets of the host's that the view masks, which init knows.
    pub sockets: Vec<PathBuf>,
    /// Something that listens on the supervisor's loopback.
    pub host_port: SocketAddr,
    /// Name of a socket in the abstract namespace of the supervisor.
    pub host_socket: String,
    /// Processes that must not be there, as the supervisor numbers them.
    pub host_processes: Vec<i32>,
    /// The missing wall for whose lack the probe is given no handle of a foreign directory.
    pub no_handle: Option<Wall>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Finding {
    pub name: String,
    pub expected: String,
    pub seen: String,
    pub proven: bool,
    /// The wall whose absence, where it is accepted, explains a failure.
    pub wall: Option<Wall>,
}

/// The whole life of a forked probe, once it is confined: waits for leave (one byte), tries, tells what it found, one JSON
/// document a line. `handle` is a directory of the supervisor's, as if it had leaked.
///
/// `exposed`: the supervisor has no privileges, and so can look at what the probe dials only as the workload's processes
/// can, too: they could change the probe's memory then. All that needs nobody's look is found and told before.
pub(super) fn serve(targets: &Targets, socket: OwnedFd, handle: Option<OwnedFd>, exposed: bool) -> io::Result<()> {
    let mut socket = UnixStream::from(socket);
    socket.read_exact(&mut [0])?;
    let mut findings = Findings::default();
    privileges::run(&mut findings, targets);
    kernel::run(&mut findings, targets);
    files::run(&mut findings, targets, handle);
    findings.tell(&mut socket)?;
    if exposed {
        sys::prctl(libc::PR_SET_DUMPABLE, 1)?;
    }
    network::run(&mut findings, targets);
    findings.tell(&mut socket)
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    /// Adds an attempt and what it came to.
    fn add(&mut self, name: &str, expected: impl Into<String>, seen: impl Into<String>, proven: bool) {
        let (name, expected, seen) = (name.to_owned(), expected.into(), seen.into());
        self.0.push(Finding { name, expected, seen, proven, wall: None });
    }

    /// Adds an attempt that must fail with one of these.
    fn refused<T>(&mut self, name: &str, attempt: io::Result<T>, errnos: &[Errno]) {
        let expected: Vec<String> = errnos.iter().map(|errno| format!("{errno:?}")).collect();
        let proven =
            matches!(&attempt, Err(error) if errnos.iter().any(|errno| error.raw_os_error() == Some(*errno as i32)));
        self.add(name, expected.join(" or "), said(&attempt), proven);
    }

    /// Adds an attempt at each of these, all of which must be refused.
    fn none(
        &mut self,
        name: &str,
        paths: impl IntoIterator<Item = PathBuf>,
        attempt: impl Fn(&Path) -> io::Result<()>,
    ) {
        let (mut tried, mut done) = (0, Vec::new());
        for path in paths {
            tried += 1;
            match attempt(&path) {
                Ok(()) => done.push(path.display().to_string()),
                Err(error) if NO_REFUSAL.iter().any(|errno| error.raw_os_error() == Some(*errno as i32)) => {
                    done.push(format!("{}: {}", path.display(), said::<()>(&Err(error))));
                }
                Err(_refused) => {}
            }
        }
        let seen = if done.is_empty() { format!("none of {tried}") } else { done.join(", ") };
        self.add(name, "none", seen, done.is_empty());
    }

    /// Hands over what was found so far; it can't be taken back.
    fn tell(&mut self, socket: &mut UnixStream) -> io::Result<()> {
        let mut text = Vec::new();
        for finding in self.0.drain(..) {
            serde_json::to_writer(&mut text, &finding)?;
            text.push(b'\n');
        }
        socket.write_all(&text)
    }

    /// The attempt added last is explained by a missing wall.
    fn because_of(&mut self, wall: Wall) {
        if let Some(last) = self.0.last_mut() {
            last.wall = Some(wall);
        }
    }
}

/// An attempt's end in one word.
fn said<T>(attempt: &io::Result<T>) -> String {
    match attempt {
        Ok(_) => "it succeeded".to_owned(),
        Err(error) => match error.raw_os_error() {
            Some(errno) => format!("{:?}", Errno::from_raw(errno)),
            None => error.to_string(),
        },
    }
}
