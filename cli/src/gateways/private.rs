//! Files for their owner alone: written whole or not at all, and not read if others could have a hand in them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use crate::error::{Error, GatewayError};

/// Makes a directory (mode 0700) and those above it. One that exists stays as it is.
pub fn directory(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(Error::io(format!("create {}", path.display())))
}

/// Writes a file (mode 0600) so that readers see the old content or the new one, and neither is lost in a crash.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let writing = || format!("write {}", path.display());
    let directory = path.parent().unwrap_or(Path::new("."));
    // For its owner alone from its first moment.
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(Error::io(writing()))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(Error::io(writing()))?;
    file.persist(path).map_err(|refused| Error::io(writing())(refused.error))?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(Error::io(writing()))
}

/// Reads a file; `None` where there is none. Refuses one that another user could read or write.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let reading = || format!("read {}", path.display());
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(reading())(error)),
    };
    let metadata = file.metadata().map_err(Error::io(reading()))?;
    if metadata.uid() != nix::unistd::geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
        return Err(GatewayError::Exposed { path: path.to_owned(), mode: metadata.mode() & 0o7777 }.into());
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(Error::io(reading()))?;
    Ok(Some(bytes))
}

/// Removes a file. One that is not there is removed already.
pub fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

/// A lock that all processes of this user respect, held until it is dropped or the process ends. Waits for it: only
/// for threads that may block.
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock that this file stands for; makes the file if need be.
    pub fn take(path: &Path) -> Result<Self, Error> {
        let locking = || format!("lock {}", path.display());
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = open.map_err(Error::io(locking()))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive);
        Ok(Self { _file: lock.map_err(|(_, errno)| Error::io(locking())(errno.into()))? })
    }
}
