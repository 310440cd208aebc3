//! The gateway's directory: one gateway at a time, private files, atomic writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use std::sync::Mutex;

use nix::fcntl::{Flock, FlockArg};
use openshell_api::status::Endpoint;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// Why a state directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// A file or directory could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another gateway holds it.
    #[error("another gateway (pid {pid}) is running with the state directory {path}")]
    Busy {
        /// The directory.
        path: PathBuf,
        /// Who holds it.
        pid: String,
    },
    /// A file is not the JSON that this gateway writes.
    #[error("{path}: {source}")]
    NotJson {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A key file has the wrong size or form.
    #[error("{path} is not a valid key file")]
    BadKey {
        /// Which one.
        path: PathBuf,
    },
}

/// Name of the socket for supervisors in [`StateDir::link`].
pub const LINK_SOCKET: &str = "gateway.sock";

/// How long a lock that another process holds is waited for.
const LOCK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// A locked state directory. The lock ends with [`StateDir::release`] or with the process, however that dies.
pub struct StateDir {
    root: PathBuf,
    lock: Mutex<Option<Flock<File>>>,
}

impl StateDir {
    /// Lets another gateway have it. Nothing may be written afterwards.
    pub fn release(&self) {
        drop(self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
    }

    /// Creates the directory (mode 0700) if need be and locks it. Refuses while another gateway holds it. Ends a restore that was
    /// interrupted.
    pub fn open(root: &Path) -> Result<Self, StateDirError> {
        create_private_dir(root)?;
        let root = root.canonicalize().map_err(|source| io_error(root, source))?;
        let path = root.join("lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| io_error(&path, source))?;
        let mut lock = take(file).map_err(|pid| StateDirError::Busy { path: root.clone(), pid })?;
        let write = |file: &mut File| {
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut lock).map_err(|source| io_error(&path, source))?;
        crate::backup::swap::finish(&root)?;
        Ok(Self { root, lock: Mutex::new(Some(lock)) })
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where `process` sandboxes keep their files.
    pub fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    /// Directory of the socket for supervisors. It is mounted into containers, whose users must be able to enter it.
    pub fn link(&self) -> PathBuf {
        self.root.join("link")
    }

    /// Bytes of a private file; made by `fill` and kept (mode 0600) if there is none.
    pub fn read_or_create(
        &self,
        name: &str,
        fill: impl FnOnce() -> Result<Vec<u8>, StateDirError>,
    ) -> Result<Vec<u8>, StateDirError> {
        let path = self.path(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let bytes = fill()?;
                write_private(&path, &bytes)?;
                Ok(bytes)
            }
            Err(source) => Err(io_error(&path, source)),
        }
    }

    /// Path of `endpoint.json`.
    pub fn endpoint_path(&self) -> PathBuf {
        self.path("endpoint.json")
    }

    /// Says where the gateway answers.
    pub fn publish(&self, endpoint: &Endpoint) -> Result<(), StateDirError> {
        let path = self.endpoint_path();
        let text = serde_json::to_vec_pretty(endpoint)
            .map_err(|error| io_error(&path, io::Error::other(error.to_string())))?;
        write_private(&path, &text)
    }

    /// Takes `endpoint.json` away.
    pub fn unpublish(&self) {
        let _ = std::fs::remove_file(self.endpoint_path());
    }
}

/// Creates a directory with mode 0700; one that exists stays as it is.
pub fn create_private_dir(path: &Path) -> Result<(), StateDirError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| io_error(path, source))
}

/// Writes a file of mode 0600 so that readers see the old content or the new one, and neither is lost in a crash.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), StateDirError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.{}.new", std::process::id()));
    let write = || -> io::Result<()> {
        let _ = std::fs::remove_file(&temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|source| io_error(path, source))
}

/// Reads a JSON file, which may hold a secret; `None`: there is none.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateDirError> {
    match std::fs::read(path).map(Zeroizing::new) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|source| not_json(path, source)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io_error(path, source)),
    }
}

/// Writes one as [`write_private`] does.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), StateDirError> {
    let bytes = serde_json::to_vec(value).map(Zeroizing::new).map_err(|source| not_json(path, source))?;
    write_private(path, &bytes)
}

/// Makes a file of mode 0600 that is not there yet.
pub fn new_private(path: &Path) -> Result<File, StateDirError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map_err(|source| io_error(path, source))
}

/// Random bytes from the kernel.
pub fn random<const N: usize>() -> Result<[u8; N], StateDirError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| io_error(Path::new("getrandom(2)"), io::Error::other(error.to_string())))?;
    Ok(bytes)
}

fn not_json(path: &Path, source: serde_json::Error) -> StateDirError {
    StateDirError::NotJson { path: path.to_owned(), source }
}

pub(crate) fn io_error(path: &Path, source: io::Error) -> StateDirError {
    StateDirError::Io { path: path.to_owned(), source }
}

/// Locks the file, or says which process holds it. A gateway that was killed holds it until the kernel has taken it
/// apart: that is waited for.
fn take(mut file: File) -> Result<Flock<File>, String> {
    let began = std::time::Instant::now();
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, _)) => file,
        };
        if began.elapsed() > LOCK_PATIENCE {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            return Err(pid.trim().to_owned());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
