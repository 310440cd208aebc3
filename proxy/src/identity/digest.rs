//! Digests of executables, computed once per version of a file.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;

use moka::sync::Cache;
use sha2::{Digest as _, Sha256};

/// Most digests kept.
const KEPT: u64 = 4096;

/// What changes when a file's content does. Content can't be written while the file is being executed, and nobody in
/// a sandbox can set the time of a change (`ctime`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
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

impl Digests {
    /// SHA-256 of a file's content, lowercase hex.
    pub fn of(&self, mut file: File) -> io::Result<String> {
        let metadata = file.metadata()?;
        let version = Version {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        if let Some(digest) = self.known.get(&version) {
            return Ok(digest);
        }
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
