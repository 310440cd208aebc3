//! Digests of executables, computed once per version of a file.

use std::fs::File;
use std::io::{self, Read as _};

use moka::sync::Cache;
use nix::sys::stat::{FileStat, fstat};
use sha2::{Digest as _, Sha256};

use super::Proc;

/// Longest file that is read, in bytes. A program beyond it can't be told apart, and reaches nothing: a file without content may
/// be of any length.
const LONGEST: i64 = 1 << 30;
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
    /// SHA-256 of what a process executes, lowercase hex. Calls `long` before it reads a file that it does not know, which
    /// is read once, however many ask.
    pub fn of(&self, process: &Proc, version: Version, long: impl FnOnce()) -> io::Result<String> {
        if let Some(digest) = self.known.get(&version) {
            return Ok(digest);
        }
        long();
        let file = process.open_file("exe")?;
        let version = Version::from(fstat(&file)?);
        let digest = self.known.try_get_with(version, || read(file, version.size));
        digest.map_err(|error| io::Error::new(error.kind(), error))
    }
}

fn read(mut file: File, size: i64) -> io::Result<String> {
    if size > LONGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            length => hash.update(&buffer[..length]),
        }
    }
}
