//! Tries to get out of a sealed sandbox, from inside.
//!
//! Init forks the probe and confines it exactly as it confines a workload: the same namespaces, filesystem view, filter,
//! user, capabilities and limits. It runs no program, so it needs nothing in the image. Each attempt is one [`Finding`];
//! an attempt that succeeds is the proof that a wall is missing.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::Wall;

mod calls;
mod files;
mod kernel;
mod network;
mod privileges;

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
    /// The supervisor's own directories.
    pub hidden: Vec<PathBuf>,
    /// Something that listens on the supervisor's loopback.
    pub host_port: SocketAddr,
    /// Name of a socket in the abstract namespace of the supervisor.
    pub host_socket: String,
    /// Processes that must not be there, as the supervisor numbers them.
    pub host_processes: Vec<i32>,
    /// Whether Landlock must refuse a path behind the handle, which is of `/proc`: false where that is shared, with leave.
    pub handle_is_foreign: bool,
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

/// Makes every attempt. `handle` is a directory of the supervisor's, as if it had leaked.
pub(super) fn run(targets: &Targets, handle: BorrowedFd<'_>) -> Vec<Finding> {
    let mut findings = Findings::default();
    network::run(&mut findings, targets);
    privileges::run(&mut findings, targets);
    kernel::run(&mut findings, targets);
    files::run(&mut findings, targets, handle);
    findings.0
}

/// The whole life of a forked probe, once it is confined: waits for leave, tries, writes down.
pub(super) fn serve(targets: OwnedFd, go: OwnedFd, results: OwnedFd, handle: OwnedFd) -> io::Result<()> {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;
    let targets: Targets = super::wire::read_document(targets)?;
    std::fs::File::from(go).read_exact(&mut [0])?;
    let findings = run(&targets, handle.as_fd());
    std::fs::File::from(results).write_all(&serde_json::to_vec(&findings)?)
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
