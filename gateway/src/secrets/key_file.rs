//! The file with the master keys: the newest first, one a line. A line is a key in hex, or a key that a passphrase protects.

use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use super::{KEY_LEN, NONCE_LEN, Secret, encrypt, open};
use crate::state_dir::{StateDir, StateDirError, random, write_private};

/// Its name.
pub(crate) const FILE: &str = "secrets.key";
/// Begins a line that a passphrase protects; then the salt, and nonce and ciphertext, in hex.
const PROTECTED: &str = "argon2id";
/// What is authenticated beside the key.
const PURPOSE: &[u8] = b"openshell master key";
const SALT_LEN: usize = 16;

/// Why the master keys can't be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Its file.
    #[error(transparent)]
    Files(#[from] StateDirError),
    /// It is protected, and no passphrase was given.
    #[error("{path} is protected by a passphrase, and none was given: --passphrase-file names its file")]
    Protected {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase is another one.
    #[error("the passphrase does not open {path}")]
    WrongPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// No key can be made of a passphrase.
    #[error("no key can be made of the passphrase: {0}")]
    Derivation(String),
}

/// What protects the key file. Never shown.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Passphrase {
    /// Reads it from a file, or from standard input where that is `-`: the first line. Refuses one of fewer than 8 characters.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        let text = Zeroizing::new(match path.as_os_str() == "-" {
            true => std::io::read_to_string(std::io::stdin())?,
            false => std::fs::read_to_string(path)?,
        });
        let line = text.lines().next().unwrap_or_default();
        match line.chars().count() < 8 {
            true => Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "a passphrase has 8 characters or more")),
            false => Ok(Self(Zeroizing::new(line.to_owned()))),
        }
    }

    #[cfg(test)]
    pub(crate) fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// A key of it: Argon2id with 64 MiB, three passes and one lane (RFC 9106, the second recommended choice, in one lane).
    pub(super) fn key(&self, salt: &[u8]) -> Result<Secret, KeyFileError> {
        let failed = |error: &dyn std::fmt::Display| KeyFileError::Derivation(error.to_string());
        let params = Params::new(64 * 1024, 3, 1, Some(KEY_LEN)).map_err(|error| failed(&error))?;
        let mut key = Zeroizing::new([0; KEY_LEN]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(self.0.as_bytes(), salt, key.as_mut_slice())
            .map_err(|error| failed(&error))?;
        Ok(key)
    }
}

/// The master keys, the newest first; never none.
pub(super) struct KeyFile {
    keys: Vec<Secret>,
    passphrase: Option<Passphrase>,
}

impl KeyFile {
    /// Reads the file, or makes it. One in the clear is protected at once if there is a passphrase.
    pub(super) fn open(dir: &StateDir, passphrase: Option<&Passphrase>) -> Result<Self, KeyFileError> {
        let path = dir.path(FILE);
        let bad = || KeyFileError::Files(StateDirError::BadKey { path: path.clone() });
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let made = Self { keys: vec![Zeroizing::new(random()?)], passphrase: passphrase.cloned() };
                made.write(dir)?;
                return Ok(made);
            }
            Err(source) => return Err(StateDirError::Io { path, source }.into()),
        };
        let (mut keys, mut in_the_clear) = (Vec::new(), false);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut key = Zeroizing::new([0; KEY_LEN]);
            if let Some(protected) = line.strip_prefix(PROTECTED) {
                let passphrase = passphrase.ok_or_else(|| KeyFileError::Protected { path: path.clone() })?;
                let (salt, sealed) = protected.trim_start_matches(':').split_once(':').ok_or_else(bad)?;
                let (salt, sealed) = (hex::decode(salt).map_err(|_| bad())?, hex::decode(sealed).map_err(|_| bad())?);
                let opened = Zeroizing::new(
                    open(&passphrase.key(&salt)?, PURPOSE, &sealed)
                        .ok_or_else(|| KeyFileError::WrongPassphrase { path: path.clone() })?,
                );
                *key = opened.as_slice().try_into().map_err(|_| bad())?;
            } else {
                hex::decode_to_slice(line, key.as_mut_slice()).map_err(|_| bad())?;
                in_the_clear = true;
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(bad());
        }
        let opened = Self { keys, passphrase: passphrase.cloned() };
        if in_the_clear && opened.passphrase.is_some() {
            opened.write(dir)?;
        }
        Ok(opened)
    }

    /// The same file, as it is now.
    pub(super) fn again(&self, dir: &StateDir) -> Result<Self, KeyFileError> {
        Self::open(dir, self.passphrase.as_ref())
    }

    pub(super) fn keys(&self) -> &[Secret] {
        &self.keys
    }

    pub(super) fn newest(&self) -> Secret {
        self.keys.first().cloned().unwrap_or_default()
    }

    pub(super) fn turn(&mut self, dir: &StateDir) -> Result<(), KeyFileError> {
        let mut keys = vec![Zeroizing::new(random()?)];
        keys.extend(self.keys.iter().cloned());
        let next = Self { keys, passphrase: self.passphrase.clone() };
        next.write(dir)?;
        *self = next;
        Ok(())
    }

    pub(super) fn forget_old(&mut self, dir: &StateDir) -> Result<(), KeyFileError> {
        let next = Self { keys: vec![self.newest()], passphrase: self.passphrase.clone() };
        next.write(dir)?;
        *self = next;
        Ok(())
    }

    fn write(&self, dir: &StateDir) -> Result<(), KeyFileError> {
        let mut text = Zeroizing::new(String::new());
        for key in &self.keys {
            match &self.passphrase {
                None => text.push_str(&Zeroizing::new(hex::encode(key.as_slice()))),
                Some(passphrase) => {
                    let (salt, nonce): ([u8; SALT_LEN], [u8; NONCE_LEN]) = (random()?, random()?);
                    let sealed = encrypt(&passphrase.key(&salt)?, &nonce, PURPOSE, key.as_slice())
                        .ok_or_else(|| KeyFileError::Derivation("it does not encrypt".to_owned()))?;
                    let (salt, nonce, sealed) = (hex::encode(salt), hex::encode(nonce), hex::encode(sealed));
                    text.push_str(&format!("{PROTECTED}:{salt}:{nonce}{sealed}"));
                }
            }
            text.push('\n');
        }
        Ok(write_private(&dir.path(FILE), text.as_bytes())?)
    }
}
