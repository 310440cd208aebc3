//! As whom the workload runs, and the namespaces it runs in.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};

use crate::isolation::sys;
use crate::isolation::wire::Setup;

/// The workload's name inside, where its user id has none on the host.
pub const USER_NAME: &str = "sandbox";

/// User and group id of a workload that a root supervisor starts in a workspace owned by root; the number that
/// container images call `nonroot`.
pub const DEFAULT_UID: u32 = 65532;

/// Capabilities that raising the walls takes, by number: a process that has them all needs no user namespace.
const NEEDED: &[(&str, u32)] = &[
    ("CAP_CHOWN", 0),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_SETPCAP", 8),
    ("CAP_NET_BIND_SERVICE", 10),
    ("CAP_NET_ADMIN", 12),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_ADMIN", 21),
];

/// Why no user could be chosen.
#[derive(Debug, thiserror::Error)]
pub(super) enum UserError {
    #[error("the workload may not run as root")]
    Root,
    #[error("there is no user {0}")]
    Unknown(String),
    #[error("without privileges the workload can only run as user {ours}, not as {wanted}")]
    NotOurs { ours: u32, wanted: u32 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The workload's user.
#[derive(Debug)]
pub(super) struct User {
    pub uid: u32,
    pub gid: u32,
    /// Whether the namespaces are made with the caller's own capabilities; else inside a user namespace.
    pub privileged: bool,
}

impl User {
    /// Asked for, else: the workspace's owner where we are privileged (and never root), else ourselves.
    pub fn choose(setup: &Setup) -> Result<Self, UserError> {
        let privileged = has_needed_capabilities(&fs::read_to_string("/proc/self/status")?);
        let workspace = fs::metadata(&setup.workspace)?;
        let ours = (Uid::effective().as_raw(), Gid::effective().as_raw());
        let (uid, gid) = match (&setup.walls.user, privileged) {
            // Without privileges nobody else can be meant by the name that every sandbox knows.
            (Some(name), false) if name == USER_NAME && ours.0 != 0 => ours,
            (Some(name), _) => find(name)?,
            (None, true) if workspace.uid() != 0 => (workspace.uid(), workspace.gid()),
            (None, true) => (DEFAULT_UID, DEFAULT_UID),
            // Root without capabilities: any number will do inside, it maps to ourselves.
            (None, false) if ours.0 == 0 => (DEFAULT_UID, DEFAULT_UID),
            (None, false) => ours,
        };
        if uid == 0 || gid == 0 {
            return Err(UserError::Root);
        }
        if !privileged && ours.0 != 0 && uid != ours.0 {
            return Err(UserError::NotOurs { ours: ours.0, wanted: uid });
        }
        if privileged && workspace.uid() == 0 {
            std::os::unix::fs::chown(&setup.workspace, Some(uid), Some(gid))?;
        }
        Ok(Self { uid, gid, privileged })
    }

    /// Leaves the host's namespaces; the next fork makes PID 1.
    pub fn enter_namespaces(&self) -> io::Result<()> {
        let spaces = CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWCGROUP;
        if self.privileged {
            return Ok(unshare(spaces)?);
        }
        let (uid, gid) = (Uid::effective(), Gid::effective());
        unshare(spaces | CloneFlags::CLONE_NEWUSER)?;
        // A group map may be written without privileges only once setgroups is given up.
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{} {uid} 1", self.uid))?;
        fs::write("/proc/self/gid_map", format!("{} {gid} 1", self.gid))
    }
}

/// Whether this process could make a sandbox's namespaces: it has the capabilities, or a user namespace is granted that
/// lets it mount. Tried in a child, which leaves nothing behind. The process must have one thread.
pub(in crate::isolation) fn may_make_namespaces() -> io::Result<()> {
    if has_needed_capabilities(&fs::read_to_string("/proc/self/status")?) {
        return Ok(());
    }
    let attempt = || -> io::Result<()> {
        let ours = User { uid: DEFAULT_UID, gid: DEFAULT_UID, privileged: false };
        ours.enter_namespaces()?;
        // Where AppArmor holds user namespaces down it grants them without any power.
        Ok(nix::mount::mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?)
    };
    let failed = |errno: i32| io::Error::from_raw_os_error(errno);
    match sys::fork()? {
        0 => std::process::exit(attempt().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO))),
        child => match sys::wait_for(child) {
            0 => Ok(()),
            errno => Err(failed(errno)),
        },
    }
}

fn has_needed_capabilities(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    NEEDED.iter().all(|(_name, number)| effective & (1 << number) != 0)
}

/// `user`, `user:group` or `:group`, by name or number. [`USER_NAME`] is always known.
fn find(wanted: &str) -> Result<(u32, u32), UserError> {
    let unknown = || UserError::Unknown(wanted.to_string());
    let (user, group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (wanted, None),
    };
    let entries = passwd(Path::new("/etc/passwd"))?;
    let (uid, primary) = match user.parse::<u32>() {
        Ok(uid) => (uid, entries.iter().find(|entry| entry.uid == uid).map_or(uid, |entry| entry.gid)),
        Err(_) => match entries.iter().find(|entry| entry.name == user) {
            Some(entry) => (entry.uid, entry.gid),
            None if matches!(user, USER_NAME | "") => (DEFAULT_UID, DEFAULT_UID),
            None => return Err(unknown()),
        },
    };
    let gid = match group {
        None => primary,
        Some(group) => match group.parse::<u32>() {
            Ok(gid) => gid,
            // group(5) begins like passwd(5): name, password, number.
            Err(_) => match groups(Path::new("/etc/group"))?.into_iter().find(|(name, _)| name == group) {
                Some((_, gid)) => gid,
                None if group == USER_NAME => DEFAULT_UID,
                None => return Err(unknown()),
            },
        },
    };
    Ok((uid, gid))
}

/// Names and numbers of the groups in a file (group(5)); lines that don't parse are skipped, a missing file is empty.
fn groups(path: &Path) -> io::Result<Vec<(String, u32)>> {
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        Some((name.to_owned(), fields.next()?.parse().ok()?))
    };
    Ok(lines(path)?.lines().filter_map(parse).collect())
}

fn lines(path: &Path) -> io::Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// One line of `/etc/passwd`.
pub(super) struct Entry {
    name: String,
    pub uid: u32,
    gid: u32,
}

/// Reads a password file (passwd(5)); lines that don't parse are skipped, a missing file is empty. The C library is
/// not asked: it would load modules that a static program can't.
pub(super) fn passwd(path: &Path) -> io::Result<Vec<Entry>> {
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        Some(Entry { name: name.into(), uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    };
    Ok(lines(path)?.lines().filter_map(parse).collect())
}
