//! Digests of executables, computed once per version of a file.

use std::io::{self, Read as _};

use moka::sync::Cache;
use nix::sys::stat::{FileStat, fstat};
use sha2::{Digest as _, Sha256};

use super::Proc;

/// Most digests kept.
const KEPT: u64 = 4096;

/// What changes when a file's content or name does. Content can't be written while the file is being executed, and nobody in
/// a sandbox can set the time of a change (`ctime`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Version {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

pub(super) struct Digests {
    known: Cache<Version, String>,
}

impl Default for Digests {
    fn default() -> Self {
        Self { known: Cache::new(KEPT) }
    }
}

impl From<FileStat> for Version {
    fn from(of: FileStat) -> Self {
        Self {
            device: of.st_dev,
            inode: of.st_ino,
            size: of.st_size,
            modified: (of.st_mtime, of.st_mtime_nsec),
            changed: (of.st_ctime, of.st_ctime_nsec),
        }
    }
}

impl Digests {
    /// SHA-256 of what a process executes, lowercase hex. Calls `long` before it reads a file that it does not know.
    pub fn of(&self, process: &Proc, version: Version, long: impl FnOnce()) -> io::Result<String> {
        if let Some(digest) = self.known.get(&version) {
            return Ok(digest);
        }
        long();
        let mut file = process.open_file("exe")?;
        let version = Version::from(fstat(&file)?);
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                length => hash.update(&buffer[..length]),
            }
        }
        let digest = hex::encode(hash.finalize());
        self.known.insert(version, digest.clone());
        Ok(digest)
    }
}
