//! What the gateways of one database share and no one else may have: the CA, the key that signs generations, the administrator's token,
//! the master keys. They lie in the database, sealed with a key of the passphrase that each of them is given.
//!
//! The first gateway puts there what it made in its state directory; each other one takes it from there into its own. From then on all
//! work with files, as a gateway alone does. Master keys turn by an entry of their own. The CA and the signing key are one entry
//! ([`shared`]) under a number that rises. Whoever turns one of them writes that entry, in the transaction of what the audit trail is told of it,
//! and only in the place of the one it knew; each other gateway takes it over before it writes to the trail, when it takes a
//! gateway-wide lock, and at the latest with its next sign of life.

mod shared;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::key_file::FILE as MASTER_KEYS;
use super::{KeyFileError, NONCE_LEN, Passphrase, SIGNING_KEY_FILE, Secret, SecretBox, encrypt, open, signing_key};
use crate::audit::Change;
use crate::identity::tokens::{ADMIN_TOKEN_FILE, admin_token};
use crate::signing::{Signing, SigningError};
use crate::state_dir::{StateDir, StateDirError, random, write_private};
use crate::store::{Database, Entry, SealedKeys, Store, StoreError};
use crate::tls::{self, Authority, TlsError};
use shared::Shared;
pub use shared::Turned;

const SALT: &str = "salt";
const SALT_LEN: usize = 16;
/// Name of the entry with the CA and the signing key.
pub(crate) const KEYS: &str = "keys";
/// Entries of a version under which neither turned.
const OLDER: [&str; 3] = [tls::CA_KEY_FILE, tls::CA_FILE, SIGNING_KEY_FILE];

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
    /// The signing key.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// They can't be written as JSON.
    #[error("the keys can't be written as JSON: {0}")]
    Unwritable(serde_json::Error),
    /// They turned under the hands of whoever turned them.
    #[error("another gateway has turned the keys meanwhile")]
    Meanwhile,
    /// The database has older ones than it had.
    #[error("the keys that the database keeps are older than those it kept before: number {found}, after {known}")]
    SetBack {
        /// What this gateway has taken over.
        known: u64,
        /// What is there.
        found: u64,
    },
    /// It was sealed with another passphrase, or changed since.
    #[error("the passphrase does not open the keys that are kept in the database")]
    WrongPassphrase,
    /// The state directory has keys of another gateway.
    #[error(
        "{file} of this state directory is not the one that the gateways of the database share, nor one of the last that they had"
    )]
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
            Self::Another { .. } => Some(
                "if it was one of them and was away for many turns of their keys, move ca.key, ca.pem and signing.key out of it: the keys come from the \
                 database; else begin with an empty state directory",
            ),
            Self::Meanwhile => Some("ask again"),
            Self::SetBack { .. } => Some(
                "it was put back to an older state: bring back the newer one, or start every gateway with an empty state directory",
            ),
            Self::NotOurs => Some(
                "for several gateways on one database, start each, the first one too, with the same --passphrase-file",
            ),
            _ => None,
        }
    }
}

/// What a gateway has of the keyring before it has opened its keys.
pub struct Opened {
    key: Secret,
    shared: Shared,
    number: u64,
    masters: Vec<u8>,
}

/// The way to what is shared.
pub struct Keyring {
    key: Secret,
    database: Database,
    authority: Arc<Authority>,
    signing: Arc<Signing>,
    /// As they are in this gateway.
    shared: Mutex<Shared>,
    number: watch::Sender<u64>,
    /// The master keys as they were read last, sealed.
    seen: Mutex<Vec<u8>>,
}

impl Opened {
    /// Takes what is shared into the state directory, or puts into the database what this one has. `make` makes what is missing in the
    /// directory. Refuses a directory of another gateway; one that was away is brought up to date.
    pub async fn open(
        database: &Database,
        dir: &StateDir,
        passphrase: &Passphrase,
        make: impl FnOnce() -> Result<(), KeyringError>,
    ) -> Result<Self, KeyringError> {
        let mut opened = None;
        let begin = |known: Vec<Entry>| -> Result<Vec<Entry>, KeyringError> {
            let find = |name: &str| known.iter().find(|entry| entry.name == name);
            let Some(salt) = find(SALT) else {
                let salt = random::<SALT_LEN>()?;
                let key = passphrase.key(&salt)?;
                make()?;
                let mut entries = vec![Entry { name: SALT.to_owned(), number: 0, sealed: salt.to_vec() }];
                for name in [ADMIN_TOKEN_FILE, MASTER_KEYS] {
                    entries.push(Entry {
                        name: name.to_owned(),
                        number: 0,
                        sealed: seal(&key, name, &read(dir, name)?)?,
                    });
                }
                let masters = entries.last().map(|masters| masters.sealed.clone()).unwrap_or_default();
                let (authority, signing) = keys(dir)?;
                let shared = Shared::first(authority, signing)?;
                entries.push(first_entry(&shared, &key)?);
                opened = Some(Self { key, shared, number: 1, masters });
                return Ok(entries);
            };
            let key = passphrase.key(&salt.sealed)?;
            let text = |name: &str| {
                let sealed = find(name).ok_or(KeyringError::WrongPassphrase)?;
                unseal(&key, name, &sealed.sealed).ok_or(KeyringError::WrongPassphrase)
            };
            let mut entries = Vec::new();
            let (shared, number) = match find(KEYS) {
                Some(Entry { number, sealed, .. }) => {
                    let kept = SealedKeys { number: *number, sealed: sealed.clone() };
                    let shared = Shared::open(&key, &kept).ok_or(KeyringError::WrongPassphrase)?;
                    shared.put(dir)?;
                    (shared, *number)
                }
                None => {
                    for file in OLDER {
                        constant(dir, file, &text(file)?)?;
                    }
                    let (authority, signing) = keys(dir)?;
                    let shared = Shared::of_older(authority, signing);
                    entries.push(first_entry(&shared, &key)?);
                    (shared, 1)
                }
            };
            constant(dir, ADMIN_TOKEN_FILE, &text(ADMIN_TOKEN_FILE)?)?;
            write_private(&dir.path(MASTER_KEYS), &text(MASTER_KEYS)?)?;
            let masters = find(MASTER_KEYS).map(|masters| masters.sealed.clone()).unwrap_or_default();
            opened = Some(Self { key, shared, number, masters });
            Ok(entries)
        };
        database.keyring(begin, &OLDER).await??;
        opened.ok_or(KeyringError::WrongPassphrase)
    }

    /// From now on turns are taken over by these, which were read from the state directory.
    pub fn begin(self, database: &Database, authority: Arc<Authority>, signing: Arc<Signing>) -> Keyring {
        let Self { key, shared, number, masters } = self;
        Keyring {
            key,
            database: database.clone(),
            authority,
            signing,
            shared: Mutex::new(shared),
            number: watch::Sender::new(number),
            seen: Mutex::new(masters),
        }
    }
}

impl Keyring {
    /// Number of the keys that this gateway has.
    pub fn number(&self) -> u64 {
        *self.number.borrow()
    }

    /// To wait for others.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.number.subscribe()
    }

    /// What gateways show one another. No turn changes it.
    pub fn token(&self) -> String {
        self.shared().token.clone()
    }

    /// Takes over what the database has, if that is newer: into files, then into use. What is older is no news.
    pub(crate) fn take(&self, found: &SealedKeys) -> Result<(), KeyringError> {
        let mut shared = self.shared();
        if found.number <= self.number() {
            return Ok(());
        }
        let next = Shared::open(&self.key, found).ok_or(KeyringError::WrongPassphrase)?;
        if next.authority != shared.authority {
            self.authority.take(&next.authority)?;
        }
        if next.signing != shared.signing {
            self.signing.take(next.signing.clone())?;
        }
        *shared = next;
        self.number.send_replace(found.number);
        Ok(())
    }

    /// Puts keys in the place of those that are: in the database, with an entry of the trail if `change` is one, then here. Others take them
    /// over. Refuses where another gateway was faster.
    pub async fn put(&self, store: &Store, turned: Turned, change: Option<&Change>) -> Result<(), KeyringError> {
        let next = {
            let shared = self.shared();
            shared.after(turned).seal(&self.key, self.number() + 1)?
        };
        match store.put_keys(&next, change).await? {
            true => self.take(&next),
            false => Err(KeyringError::Meanwhile),
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn seen(&self) -> MutexGuard<'_, Vec<u8>> {
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

/// The CA and the signing key of a directory that has both.
fn keys(dir: &StateDir) -> Result<(tls::CaKeys, crate::signing::SigningKeys), KeyringError> {
    let here = std::net::Ipv4Addr::LOCALHOST.into();
    Ok((Authority::open(dir, here, None)?.keys()?, Signing::open(dir)?.keys()))
}

fn first_entry(shared: &Shared, key: &Secret) -> Result<Entry, KeyringError> {
    let SealedKeys { number, sealed } = shared.seal(key, 1)?;
    Ok(Entry { name: KEYS.to_owned(), number, sealed })
}

/// Puts a file there that stays what it is. Refuses where another one is.
fn constant(dir: &StateDir, file: &'static str, text: &[u8]) -> Result<(), KeyringError> {
    match std::fs::read(dir.path(file)) {
        Ok(own) if own == text => Ok(()),
        Ok(_) => Err(KeyringError::Another { file }),
        Err(_) => Ok(write_private(&dir.path(file), text)?),
    }
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
