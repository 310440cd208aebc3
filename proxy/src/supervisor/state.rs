//! The supervisor's own directory: locked, readable by it alone, written so that a crash leaves the old or the new.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use openshell_api::launch::{STATUS_FILE, SupervisorStatus};

/// Name of the lock file.
const LOCK_FILE: &str = "lock";

/// Ends the names of files written aside for a later [`StateDir::rename`].
pub(super) const STAGED_EXTENSION: &str = "staged";

/// Why the state directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another supervisor holds it.
    #[error("{} is in use by another supervisor", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A locked state directory. Two never exist for one directory, in this process or another.
pub struct StateDir {
    root: PathBuf,
    _lock: Flock<File>,
}

impl StateDir {
    /// Makes the directory if absent, takes it for this user alone, and locks it. Refuses one that is in use.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StateError::Io { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(failed(root))?;
        fs::set_permissions(root, fs::Permissions::from_mode(0o700)).map_err(failed(root))?;
        let path = root.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed(&path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
            nix::errno::Errno::EWOULDBLOCK => StateError::InUse { dir: root.to_owned() },
            errno => StateError::Io { path, source: errno.into() },
        })?;
        let state = Self { root: root.to_owned(), _lock: lock };
        state.sweep().map_err(failed(root))?;
        Ok(state)
    }

    /// Removes what an earlier run wrote aside and never renamed.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "new" || extension == STAGED_EXTENSION) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Reads a file in it; `None`: there is none.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::Io { path, source }),
        }
    }

    /// Writes a file in it, mode 0600. After a crash it holds its old content or the new, never a mixture.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let temporary = format!("{name}.new");
        self.write_aside(&temporary, bytes)?;
        self.rename(&temporary, name)
    }

    /// Writes a file and makes its content durable, for a later [`Self::rename`].
    pub fn write_aside(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let path = self.path(name);
        write_durably(&path, bytes).map_err(|source| StateError::Io { path, source })
    }

    /// Gives a file written aside its final name, atomically and durably.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), StateError> {
        let path = self.path(to);
        fs::rename(self.path(from), &path)
            .and_then(|()| sync_directory(&self.root))
            .map_err(|source| StateError::Io { path, source })
    }

    /// Removes a file in it, if it is there.
    pub fn remove(&self, name: &str) {
        let path = self.path(name);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a file of the supervisor can't be removed");
        }
    }

    /// Says which process this is, for a gateway that looks for its supervisors.
    pub fn write_status(&self, sandbox_id: &str) -> Result<(), StateError> {
        let status = SupervisorStatus {
            pid: std::process::id(),
            start_time: start_time()
                .map_err(|source| StateError::Io { path: PathBuf::from("/proc/self/stat"), source })?,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sandbox_id: sandbox_id.to_owned(),
        };
        let text = serde_json::to_vec(&status)
            .map_err(|error| StateError::Io { path: self.path(STATUS_FILE), source: error.into() })?;
        self.write(STATUS_FILE, &text)
    }
}

/// Writes a file, mode 0600, and waits until its content is on disk.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Waits until the names in a directory are on disk.
pub(super) fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Field 22 of `/proc/self/stat` (proc_pid_stat(5)). The name in field 2 may hold spaces and parentheses, so it counts
/// from the last `)`.
fn start_time() -> io::Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    stat.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19)?.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no start time in it"))
}
