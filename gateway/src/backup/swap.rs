//! The moment at which a state directory holds another state: a rename. Before it nothing has changed; after it, whoever opens the
//! directory next ends what has begun.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::{BackupError, OPTIONAL, REQUIRED};
use crate::state_dir::{StateDirError, create_private_dir, io_error};
use crate::store::DATABASE_FILE;

/// Being filled: worth nothing.
const STAGING: &str = "restore.new";
/// Complete and checked: to be moved into place.
const READY: &str = "restore.ready";
/// What was there before.
const ASIDE: &str = "before-restore";
/// Parts of a database that go with it, and before it.
const LOGS: [&str; 2] = ["gateway.db-wal", "gateway.db-shm"];

/// Whether a restore has begun that no one has ended.
pub(super) fn is_pending(root: &Path) -> bool {
    root.join(READY).is_dir()
}

/// Whether a directory holds a gateway's state.
pub(super) fn present(root: &Path) -> bool {
    REQUIRED.iter().any(|name| root.join(name).exists())
}

/// A directory to fill. Dropped, it is gone.
pub(super) struct Staging {
    root: PathBuf,
    path: PathBuf,
}

impl Staging {
    /// An empty one.
    pub(super) fn new(root: &Path) -> Result<Self, BackupError> {
        let path = root.join(STAGING);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BackupError::Io { path, source: error });
            }
            _ => {}
        }
        create_private_dir(&path)?;
        Ok(Self { root: root.to_owned(), path })
    }

    /// Where to put files.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it count, and moves everything into place. Answers where that is which was there before.
    pub(super) fn commit(self) -> Result<Option<PathBuf>, BackupError> {
        // What an earlier restore has put aside stays: under a name of its own.
        let aside = self.root.join(ASIDE);
        if aside.exists() {
            let at = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
            let kept = self.root.join(format!("{ASIDE}-{at}"));
            std::fs::rename(&aside, &kept).map_err(BackupError::io(kept))?;
        }
        sync(&self.path)?;
        std::fs::rename(&self.path, self.root.join(READY)).map_err(BackupError::io(self.root.join(READY)))?;
        sync(&self.root)?;
        finish(&self.root)?;
        Ok(aside.exists().then_some(aside))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Ends a restore that has begun: as often as need be, each time from where it was interrupted. The directory is locked.
pub(crate) fn finish(root: &Path) -> Result<(), StateDirError> {
    let ready = root.join(READY);
    if !ready.is_dir() {
        return Ok(());
    }
    let aside = root.join(ASIDE);
    create_private_dir(&aside)?;
    let put_aside = |name: &str| -> Result<(), StateDirError> {
        let path = root.join(name);
        match std::fs::rename(&path, aside.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(&path, error)),
            _ => Ok(()),
        }
    };
    // A log in the place of another database's would be taken for its own.
    if ready.join(DATABASE_FILE).exists() {
        LOGS.iter().try_for_each(|name| put_aside(name))?;
    }
    for name in REQUIRED.into_iter().chain(OPTIONAL) {
        let new = ready.join(name);
        if new.exists() {
            put_aside(name)?;
            std::fs::rename(&new, root.join(name)).map_err(|error| io_error(&new, error))?;
        }
    }
    sync(root)?;
    std::fs::remove_dir_all(&ready).map_err(|error| io_error(&ready, error))?;
    let _ = std::fs::remove_dir(&aside);
    sync(root)
}

fn sync(directory: &Path) -> Result<(), StateDirError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(|error| io_error(directory, error))
}
