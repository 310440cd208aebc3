//! Compiled functions of modules in a directory, a file for each: what one process compiled another need not.
//!
//! A file is 32 bytes of SHA-256 over the rest, and then, again and again, the length of a key (four bytes, little-endian), the key, the
//! length of a function's code, the code. One that is cut off or changed is none. The directory is its owner's alone: what lies there is
//! code that is run.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::config;

/// Most that lies in the directory, in bytes; what was not used for longest goes.
const MOST: u64 = 256 << 20;
/// What a file's name ends in.
const SUFFIX: &str = "functions";
const DIGEST: usize = 32;

/// The compiled functions of one module.
#[derive(Default)]
pub(crate) struct Pack {
    functions: HashMap<Box<[u8]>, Arc<[u8]>, ahash::RandomState>,
    bytes: usize,
}

impl Pack {
    pub(crate) fn new(functions: HashMap<Box<[u8]>, Arc<[u8]>, ahash::RandomState>) -> Self {
        let bytes = functions.iter().map(|(key, code)| key.len() + code.len()).sum();
        Self { functions, bytes }
    }

    pub(crate) fn functions(&self) -> &HashMap<Box<[u8]>, Arc<[u8]>, ahash::RandomState> {
        &self.functions
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        self.functions.get(key).cloned()
    }

    /// How much it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn to_file(&self) -> Vec<u8> {
        let mut file = vec![0; DIGEST];
        for part in self.functions.iter().flat_map(|(key, code)| [&key[..], &code[..]]) {
            // A function of 4 GiB can't be: a module is no longer than a few MiB.
            let Ok(length) = u32::try_from(part.len()) else { return Vec::new() };
            file.extend_from_slice(&length.to_le_bytes());
            file.extend_from_slice(part);
        }
        let digest = Sha256::digest(&file[DIGEST..]);
        file[..DIGEST].copy_from_slice(&digest);
        file
    }

    fn from_file(file: &[u8]) -> Option<Self> {
        let (digest, mut rest) = file.split_at_checked(DIGEST)?;
        if Sha256::digest(rest).as_slice() != digest {
            return None;
        }
        let mut functions = HashMap::default();
        let mut part = || -> Option<&[u8]> {
            let (length, after) = rest.split_first_chunk()?;
            let (part, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
            rest = after;
            Some(part)
        };
        while let Some(key) = part() {
            functions.insert(key.into(), part()?.into());
        }
        Some(Self::new(functions))
    }
}

/// A directory of them.
pub(crate) struct Packs(PathBuf);

impl Packs {
    /// Makes the directory (mode 0700) if need be. Refuses one that is another user's, or that others may write.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let found = fs::symlink_metadata(directory)?;
        if !found.is_dir() || found.uid() != nix::unistd::geteuid().as_raw() || found.mode() & 0o022 != 0 {
            return Err(io::Error::other("it is not a directory that is this user's alone to write"));
        }
        Ok(Self(directory.to_owned()))
    }

    /// What is there of that name, whole and unchanged.
    pub(crate) fn read(&self, name: &str) -> Option<Pack> {
        let mut file = File::open(self.path(name)).ok()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        // Only says what to take away last.
        let _ = file.set_modified(SystemTime::now());
        Pack::from_file(&bytes)
    }

    /// Puts it there, whole or not at all. That it can't be kept is no error: it will be compiled again.
    pub(crate) fn write(&self, name: &str, pack: &Pack) {
        let path = self.path(name);
        let written = self.try_write(&path, pack).and_then(|()| self.tidy());
        if let Err(error) = written {
            tracing::debug!(path = %path.display(), %error, "compiled functions can't be kept");
        }
    }

    fn try_write(&self, path: &Path, pack: &Pack) -> io::Result<()> {
        let temporary = path.with_extension(format!("{}.new", std::process::id()));
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&pack.to_file())?;
            fs::rename(&temporary, path)
        };
        write().inspect_err(|_| drop(fs::remove_file(&temporary)))
    }

    /// Takes away what was not used for longest while there is too much.
    fn tidy(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let about = entry.metadata()?;
            files.push((about.modified()?, about.len(), entry.path()));
        }
        files.sort();
        let mut all: u64 = files.iter().map(|(_, length, _)| length).sum();
        for (_, length, path) in files {
            if all <= MOST {
                break;
            }
            fs::remove_file(path)?;
            all -= length;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        let named = format!("{} {name}", config::compatibility());
        self.0.join(format!("{}.{SUFFIX}", hex::encode(Sha256::digest(named))))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn pack(functions: &[(&str, &str)]) -> Pack {
        let bytes = |text: &str| text.as_bytes().to_vec();
        Pack::new(functions.iter().map(|(key, code)| (bytes(key).into(), bytes(code).into())).collect())
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let packs = Packs::open(&directory.path().join("compiled")).unwrap();
        assert!(packs.read("ahead a").is_none());
        packs.write("ahead a", &pack(&[("key", "code"), ("other", "")]));
        let read = packs.read("ahead a").unwrap();
        assert_eq!(read.get(b"key").as_deref(), Some(&b"code"[..]));
        assert_eq!((read.get(b"other").as_deref(), read.get(b"code"), read.bytes()), (Some(&b""[..]), None, 12));
        assert!(packs.read("bake a").is_none(), "another engine's");

        let path = packs.path("ahead a");
        let whole = fs::read(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(Pack::from_file(&changed).is_none(), "byte {at}");
            assert!(Pack::from_file(&whole[..at]).is_none(), "cut off at {at}");
        }
        fs::write(&path, &whole[1..]).unwrap();
        assert!(packs.read("ahead a").is_none());
    }

    #[test]
    fn what_others_may_write_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let (open, link) = (directory.path().join("open"), directory.path().join("link"));
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o770)).unwrap();
        std::os::unix::fs::symlink(&open, &link).unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        for refused in ["open", "link", "file"] {
            assert!(Packs::open(&directory.path().join(refused)).is_err(), "{refused}");
        }
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let directory = tempfile::tempdir().unwrap();
        let packs = Packs::open(directory.path()).unwrap();
        let long_ago = SystemTime::now() - std::time::Duration::from_secs(60);
        for (name, used) in [("unused", long_ago), ("used", SystemTime::now())] {
            packs.write(name, &pack(&[("key", "code")]));
            let file = File::options().write(true).open(packs.path(name)).unwrap();
            file.set_len(MOST / 2).unwrap();
            file.set_modified(used).unwrap();
        }
        packs.write("new", &pack(&[("key", "code")]));
        let there = |name| packs.path(name).exists();
        assert_eq!((there("unused"), there("used"), there("new")), (false, true, true));
    }
}
