//! What the gateways of one database share and no one else may have: the CA, the key that signs generations, the administrator's token,
//! the master keys. They lie in the database, sealed with a key of the passphrase that each of them is given.
//!
//! The first gateway puts there what it made in its state directory; each other one takes it from there into its own. From then on both
//! work with files, as a gateway alone does. Only the master keys change later: they turn, and whoever turns them says so here.

use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

use super::key_file::FILE as MASTER_KEYS;
use super::{KeyFileError, NONCE_LEN, Passphrase, SIGNING_KEY_FILE, Secret, SecretBox, encrypt, open, signing_key};
use crate::identity::tokens::{ADMIN_TOKEN_FILE, admin_token};
use crate::state_dir::{StateDir, StateDirError, random, write_private};
use crate::store::{Database, StoreError};
use crate::tls::{self, Authority, TlsError};

const SALT: &str = "salt";
const SALT_LEN: usize = 16;
/// Files that stay what they are.
const CONSTANT: [&str; 4] = [tls::CA_KEY_FILE, tls::CA_FILE, SIGNING_KEY_FILE, ADMIN_TOKEN_FILE];

/// Why a gateway does not share what the others of its database do.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// Files.
    #[error(transparent)]
    Files(#[from] StateDirError),
    /// The passphrase's key, or the master keys.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The CA.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was sealed with another passphrase, or changed since.
    #[error("the passphrase does not open the keys that are kept in the database")]
    WrongPassphrase,
    /// The state directory has keys of another gateway.
    #[error("{file} of this state directory is not the one that the gateways of the database share")]
    Another {
        /// Which.
        file: &'static str,
    },
    /// The database is one of a gateway with other keys.
    #[error("the database is another gateway's: it has other keys")]
    NotOurs,
}

impl KeyringError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::WrongPassphrase => Some("every gateway of a database is given the same passphrase"),
            Self::Another { .. } => Some("begin with an empty state directory: the keys come from the database"),
            Self::NotOurs => Some(
                "for several gateways on one database, start each, the first one too, with the same --passphrase-file",
            ),
            _ => None,
        }
    }
}

/// The way to what is shared.
pub struct Keyring {
    key: Secret,
    database: Database,
    /// The master keys as they were read last, sealed.
    seen: Mutex<Vec<u8>>,
}

impl Keyring {
    /// Takes what is shared into the state directory, or puts there what this one has. `make` makes what is missing in the directory.
    pub async fn open(
        database: &Database,
        dir: &StateDir,
        passphrase: &Passphrase,
        make: impl FnOnce() -> Result<(), KeyringError>,
    ) -> Result<Self, KeyringError> {
        let mut kept = None;
        let begin = |known: Vec<(String, Vec<u8>)>| -> Result<Vec<(String, Vec<u8>)>, KeyringError> {
            let salt = known.iter().find(|(name, _)| name == SALT).map(|(_, salt)| salt.clone());
            let Some(salt) = salt else {
                let salt = random::<SALT_LEN>()?;
                let key = passphrase.key(&salt)?;
                make()?;
                let mut entries = vec![(SALT.to_owned(), salt.to_vec())];
                for name in CONSTANT.into_iter().chain([MASTER_KEYS]) {
                    entries.push((name.to_owned(), seal(&key, name, &read(dir, name)?)?));
                }
                kept = Some((key, entries.last().map(|(_, sealed)| sealed.clone()).unwrap_or_default()));
                return Ok(entries);
            };
            let key = passphrase.key(&salt)?;
            let sealed = |name: &str| known.iter().find(|(known, _)| known == name).map(|(_, sealed)| sealed);
            for file in CONSTANT {
                let text =
                    sealed(file).and_then(|sealed| unseal(&key, file, sealed)).ok_or(KeyringError::WrongPassphrase)?;
                match std::fs::read(dir.path(file)) {
                    Ok(own) if own == *text => {}
                    Ok(_) => return Err(KeyringError::Another { file }),
                    Err(_) => write_private(&dir.path(file), &text)?,
                }
            }
            let masters = sealed(MASTER_KEYS).ok_or(KeyringError::WrongPassphrase)?;
            let text = unseal(&key, MASTER_KEYS, masters).ok_or(KeyringError::WrongPassphrase)?;
            write_private(&dir.path(MASTER_KEYS), &text)?;
            kept = Some((key, masters.clone()));
            Ok(Vec::new())
        };
        database.keyring(begin).await??;
        let (key, seen) = kept.ok_or(KeyringError::WrongPassphrase)?;
        Ok(Self { key, database: database.clone(), seen: Mutex::new(seen) })
    }

    /// Takes the master keys over if another gateway has turned them.
    pub async fn refresh(&self, secrets: &SecretBox, dir: &StateDir) -> Result<(), KeyringError> {
        let sealed = self.database.keyring_entry(MASTER_KEYS).await?.ok_or(KeyringError::WrongPassphrase)?;
        if *self.seen() == sealed {
            return Ok(());
        }
        let text = unseal(&self.key, MASTER_KEYS, &sealed).ok_or(KeyringError::WrongPassphrase)?;
        write_private(&dir.path(MASTER_KEYS), &text)?;
        secrets.reload(dir)?;
        *self.seen() = sealed;
        Ok(())
    }

    /// Tells the others of the master keys as they are in the state directory now.
    pub async fn publish(&self, dir: &StateDir) -> Result<(), KeyringError> {
        let sealed = seal(&self.key, MASTER_KEYS, &read(dir, MASTER_KEYS)?)?;
        self.database.set_keyring_entry(MASTER_KEYS, &sealed).await?;
        *self.seen() = sealed;
        Ok(())
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes in a state directory whatever a gateway needs and is not there yet.
pub fn make(dir: &StateDir, passphrase: &Passphrase, listen: std::net::IpAddr) -> Result<(), KeyringError> {
    Authority::open(dir, listen, None)?;
    signing_key(dir)?;
    admin_token(dir)?;
    SecretBox::open(dir, Some(passphrase))?;
    Ok(())
}

fn read(dir: &StateDir, name: &str) -> Result<Zeroizing<Vec<u8>>, StateDirError> {
    let path = dir.path(name);
    std::fs::read(&path).map(Zeroizing::new).map_err(|source| StateDirError::Io { path, source })
}

fn seal(key: &Secret, name: &str, text: &[u8]) -> Result<Vec<u8>, KeyringError> {
    let nonce: [u8; NONCE_LEN] = random()?;
    let body = encrypt(key, &nonce, name.as_bytes(), text)
        .ok_or_else(|| KeyFileError::Derivation("it does not encrypt".to_owned()))?;
    Ok([&nonce[..], &body].concat())
}

fn unseal(key: &Secret, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    open(key, name.as_bytes(), sealed).map(Zeroizing::new)
}
