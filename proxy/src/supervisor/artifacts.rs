//! Compiled policies on disk, by digest: what a generation names and the gateway sends once.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use openshell_api::compress::{self, DecompressError};
use openshell_api::patch::{self, PatchError};
use openshell_policy_host::{Artifact, ArtifactError};

use super::signers::Signers;
use super::state::{sync_directory, write_durably};

/// Longest artifact that is accepted, in bytes.
pub const MAX_ARTIFACT_BYTES: u64 = 256 * 1024 * 1024;

/// So many artifacts are named to the gateway as bases of others, at most.
const MAX_BASES: usize = 8;

/// How many past generations keep their artifacts, so that a rollback needs no transfer.
const KEPT_GENERATIONS: usize = 4;

/// Why an artifact can't be had from the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not `sha256:` and 64 lowercase hex digits: such a name is never used as a path.
    #[error("{0:?} is not a digest")]
    NotADigest(String),
    /// The store's directory can't be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("artifact {digest}: {source}")]
    Invalid {
        /// Its digest.
        digest: String,
        /// Why the engine refused it.
        source: ArtifactError,
    },
    /// It was sent as a patch that does not fit.
    #[error("artifact {digest} can't be made of {base}: {source}")]
    Patch {
        /// Its digest.
        digest: String,
        /// What the patch is for.
        base: String,
        /// Why not.
        source: PatchError,
    },
    /// It was sent compressed, and is not.
    #[error("artifact {digest} can't be decompressed: {source}")]
    Compressed {
        /// Its digest.
        digest: String,
        /// Why not.
        source: DecompressError,
    },
}

/// What the gateway sends for an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// The artifact.
    Whole,
    /// The same, [compressed](compress).
    Compressed,
    /// A [patch] of the one with this digest.
    PatchOf(String),
}

/// Artifacts under `state_dir/artifacts`. What it hands out has been checked against digest and signature again: a
/// file that was tampered with is removed and counts as absent.
pub struct ArtifactStore {
    dir: PathBuf,
    signers: Arc<Signers>,
    recent: std::sync::Mutex<VecDeque<HashSet<String>>>,
}

impl ArtifactStore {
    /// Opens the store, made if absent; removes unfinished files of an earlier run.
    pub fn open(dir: PathBuf, signers: Arc<Signers>) -> Result<Self, StoreError> {
        let store = Self { dir, signers, recent: std::sync::Mutex::default() };
        store.prepare().map_err(|source| StoreError::Io { path: store.dir.clone(), source })?;
        Ok(store)
    }

    fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some() {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Those of `digests` that are not here.
    pub fn missing(&self, digests: &HashSet<String>) -> Result<Vec<String>, StoreError> {
        let mut missing = Vec::new();
        for digest in digests {
            if !self.path(digest)?.exists() {
                missing.push(digest.clone());
            }
        }
        missing.sort();
        Ok(missing)
    }

    /// Takes what the gateway sent. Refuses what does not have this digest or what none of its keys signed.
    pub fn insert(&self, digest: &str, sent: &Sent, bytes: &[u8]) -> Result<(), StoreError> {
        let whole = match sent {
            Sent::Whole => return self.store(digest, bytes),
            Sent::Compressed => compress::decompress(bytes, MAX_ARTIFACT_BYTES)
                .map_err(|source| StoreError::Compressed { digest: digest.to_owned(), source })?,
            Sent::PatchOf(base) => {
                let path = self.path(base)?;
                let from = fs::read(&path).map_err(|source| StoreError::Io { path, source })?;
                patch::apply(&from, bytes, MAX_ARTIFACT_BYTES).map_err(|source| {
                    let (digest, base) = (digest.to_owned(), base.clone());
                    StoreError::Patch { digest, base, source }
                })?
            }
        };
        self.store(digest, &whole)
    }

    fn store(&self, digest: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(digest)?;
        self.check(digest, bytes)?;
        let temporary = path.with_extension("new");
        write_durably(&temporary, bytes)
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| sync_directory(&self.dir))
            .map_err(|source| StoreError::Io { path, source })
    }

    /// What is here and may be patched, the newest first.
    pub fn bases(&self) -> Vec<String> {
        let found = fs::read_dir(&self.dir).into_iter().flatten().flatten().filter_map(|entry| {
            let digest = format!("sha256:{}", entry.file_name().to_str()?);
            hex_part(&digest)?;
            Some((entry.metadata().and_then(|metadata| metadata.modified()).ok()?, digest))
        });
        let mut found: Vec<_> = found.collect();
        found.sort_by(|one, other| other.cmp(one));
        found.into_iter().take(MAX_BASES).map(|(_, digest)| digest).collect()
    }

    /// A checked artifact; `None`: it is not here (any more).
    pub fn get(&self, digest: &str) -> Result<Option<Artifact>, StoreError> {
        let path = self.path(digest)?;
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Io { path, source }),
        };
        match self.check(digest, &bytes) {
            Ok(artifact) => Ok(Some(artifact)),
            Err(error) => {
                tracing::warn!(%error, "a stored artifact is damaged; it is thrown away");
                fs::remove_file(&path).map_err(|source| StoreError::Io { path, source })?;
                Ok(None)
            }
        }
    }

    /// A generation with these artifacts is enforced now: forgets what neither the last few nor `staged` ones name.
    pub fn keep(&self, enforced: HashSet<String>, staged: &HashSet<String>) {
        let mut recent = self.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        recent.push_back(enforced);
        while recent.len() > KEPT_GENERATIONS {
            recent.pop_front();
        }
        let keep = recent.iter().flatten().chain(staged).filter_map(|digest| hex_part(digest)).collect::<HashSet<_>>();
        if let Err(error) = self.sweep(&keep) {
            tracing::warn!(%error, "old artifacts can't be removed");
        }
    }

    fn sweep(&self, keep: &HashSet<&str>) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let finished = entry.path().extension().is_none();
            if finished && name.to_str().is_none_or(|name| !keep.contains(name)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn check(&self, digest: &str, bytes: &[u8]) -> Result<Artifact, StoreError> {
        self.signers
            .open_artifact(bytes, digest)
            .map_err(|source| StoreError::Invalid { digest: digest.to_owned(), source })
    }

    fn path(&self, digest: &str) -> Result<PathBuf, StoreError> {
        let hex = hex_part(digest).ok_or_else(|| StoreError::NotADigest(digest.to_owned()))?;
        Ok(self.dir.join(hex))
    }
}

fn hex_part(digest: &str) -> Option<&str> {
    let hex = digest.strip_prefix("sha256:")?;
    let well_formed = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    well_formed.then_some(hex)
}
