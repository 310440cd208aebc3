//! Files that may not be written, read or even seen.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::{Findings, Targets, said};
use crate::isolation::Wall;

/// Beginning of the name of what is created where nothing may be.
const TRACE: &str = ".openshell-probe";
/// Always read-only, whatever a policy says.
const CLOSED: [&str; 2] = ["/", "/dev"];
/// The kernel's switches.
const SWITCHES: [&str; 3] =
    ["/proc/sys/kernel/core_pattern", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/sysrq"];

pub(super) fn run(findings: &mut Findings, targets: &Targets, handle: Option<OwnedFd>) {
    findings.none("write-outside", closed(targets), write);
    findings.none("kernel-switches", SWITCHES.map(PathBuf::from), write);
    let state = targets.hidden.iter().flat_map(|path| [path.clone(), path.join("status.json"), path.join("lock")]);
    let workspace: Vec<PathBuf> =
        fs::canonicalize(&targets.workspace).into_iter().chain([targets.workspace.clone()]).collect();
    findings.none("supervisor-files", state, |path| read_beside(path, &workspace));
    let init = ["mem", "environ", "maps", "root/etc", "fd"].map(|name| Path::new("/proc/1").join(name));
    findings.none("init-files", init, read);
    leaked(findings, targets, handle);

    let own = fs::read_link("/proc/self");
    let expected = std::process::id().to_string();
    let seen = own.as_ref().map_or_else(|_| said(&own), |path| path.display().to_string());
    let proven = seen == expected;
    findings.add("private-proc", format!("/proc/self is {expected}"), seen, proven);
    findings.because_of(Wall::PrivateProc);

    let device = mknod("/tmp/.openshell-device", SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 1));
    findings.refused("device-node", device.map_err(io::Error::from), &[Errno::EPERM]);
    let set_uid = ["/", "/usr", "/tmp", "/dev"]
        .iter()
        .filter(|path| statvfs(**path).is_ok_and(|mount| !mount.flags().contains(FsFlags::ST_NOSUID)));
    let set_uid: Vec<&str> = set_uid.copied().collect();
    let seen = if set_uid.is_empty() { "none".to_owned() } else { set_uid.join(", ") };
    findings.add("set-uid-mounts", "none", seen, set_uid.is_empty());
}

/// Landlock must refuse a path behind the handle, which is of the host's `/proc`. It is closed here.
fn leaked(findings: &mut Findings, targets: &Targets, handle: Option<OwnedFd>) {
    match handle {
        Some(handle) => {
            let opened = openat(&handle, "status", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
            findings.refused("leaked-handle", opened.map_err(io::Error::from), &[Errno::EACCES]);
            findings.because_of(Wall::Landlock);
        }
        None => {
            findings.add("leaked-handle", "EACCES", "not tried: nothing would refuse it", false);
            if let Some(wall) = targets.no_handle {
                findings.because_of(wall);
            }
        }
    }
}

/// Every path that may be read and not written; `/` in a list stands for what lies in it.
fn closed(targets: &Targets) -> Vec<PathBuf> {
    let mut closed: Vec<PathBuf> = CLOSED.iter().map(PathBuf::from).chain(targets.read_only.clone()).collect();
    if targets.read_only.iter().any(|path| path == Path::new("/")) {
        closed.extend(fs::read_dir("/").into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    closed.sort_unstable();
    closed.dedup();
    let own = ["/tmp", "/run", "/proc"].map(Path::new);
    let open = |path: &Path| {
        own.contains(&path) || targets.workspace == path || targets.read_write.iter().any(|other| other == path)
    };
    closed.retain(|path| !open(path));
    closed
}

/// Creates a file in a directory, or opens a file for writing.
fn write(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        return OpenOptions::new().write(true).open(path).map(drop);
    }
    // A name that nobody can have taken before.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let trace = path.join(format!("{TRACE}-{}", now.as_nanos()));
    OpenOptions::new().write(true).create_new(true).open(&trace)?;
    // It should never have come to be; if it can't be removed either, the finding says where it lies.
    let _ = fs::remove_file(trace);
    Ok(())
}

/// Lists a directory, or reads a file.
fn read(path: &Path) -> io::Result<()> {
    match path.is_dir() {
        true => fs::read_dir(path).map(drop),
        // What is hidden may be an empty file in its place.
        false => io::Read::read_exact(&mut File::open(path)?, &mut [0]),
    }
}

/// Like [`read`], but the way to the workspace, which may lie below, is nothing to hide. It may have several names.
fn read_beside(path: &Path, workspace: &[PathBuf]) -> io::Result<()> {
    if !path.is_dir() {
        return read(path);
    }
    let mut entries = fs::read_dir(path)?.flatten().map(|entry| entry.path());
    let beside = entries.any(|entry| !workspace.iter().any(|name| name.starts_with(&entry)));
    if beside { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}
