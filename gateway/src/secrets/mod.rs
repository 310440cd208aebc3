//! Secrets at rest: providers' secrets in envelopes, and the key that signs generations.
//!
//! Each secret is encrypted with a key of its own, which is wrapped with the *master key* of [`key_file`]. Turning the master key
//! wraps those anew and touches no secret.

pub mod answer;
mod key_file;
mod keyring;
#[cfg(test)]
mod tests;

use std::sync::RwLock;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use ed25519_dalek::SigningKey;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::state_dir::{StateDir, StateDirError, random};
pub(crate) use key_file::FILE as SECRETS_KEY_FILE;
use key_file::KeyFile;
pub use key_file::{KeyFileError, Passphrase};
pub(crate) use keyring::KEYS;
pub use keyring::{Keyring, KeyringError, Opened, Turned, make};

/// The key that signs generations.
pub(crate) const SIGNING_KEY_FILE: &str = "signing.key";
const NONCE_LEN: usize = 12;
const KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;
/// First byte of an envelope.
const VERSION: u8 = 2;
/// Version, id of the master key, nonce and wrapped key.
const HEAD_LEN: usize = 1 + ID_LEN + NONCE_LEN + KEY_LEN + TAG_LEN;
const ID_LEN: usize = 8;

/// A key that is wiped when it is dropped.
type Secret = Zeroizing<[u8; KEY_LEN]>;

/// Encrypts secrets before they reach the database.
pub struct SecretBox {
    keys: RwLock<KeyFile>,
}

/// Why a secret could not be encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It was encrypted with another key or for another name, or was changed since.
    #[error("the stored secret of {name:?} can't be decrypted with this gateway's key")]
    Undecryptable {
        /// Whose secret.
        name: String,
    },
    /// It could not be encrypted.
    #[error("the secret of {name:?} can't be encrypted")]
    Unencryptable {
        /// Whose secret.
        name: String,
    },
    /// No randomness.
    #[error(transparent)]
    Random(#[from] StateDirError),
}

impl SecretBox {
    /// Reads the key file, or makes one. A passphrase protects it; a file that another one protects is refused.
    pub fn open(dir: &StateDir, passphrase: Option<&Passphrase>) -> Result<Self, KeyFileError> {
        Ok(Self { keys: RwLock::new(KeyFile::open(dir, passphrase)?) })
    }

    /// Encrypts under fresh keys; the result decrypts only for the same name.
    pub fn seal(&self, name: &str, secret: &str) -> Result<Vec<u8>, SecretError> {
        let failed = || SecretError::Unencryptable { name: name.to_owned() };
        let own: Secret = Zeroizing::new(random()?);
        let nonce: [u8; NONCE_LEN] = random()?;
        let body = encrypt(&own, &nonce, name.as_bytes(), secret.as_bytes()).ok_or_else(failed)?;
        let head = self.wrap(name, &own)?.ok_or_else(failed)?;
        Ok([head.as_slice(), &nonce, &body].concat())
    }

    /// Decrypts what [`Self::seal`] made for this name, with any of the keys there are.
    pub fn open_sealed(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<String>, SecretError> {
        let refused = || SecretError::Undecryptable { name: name.to_owned() };
        let plain = match self.unwrap(name, sealed) {
            Some((own, rest)) => open(&own, name.as_bytes(), rest),
            // Of a gateway that knew no envelopes.
            None => self.keys().iter().find_map(|key| open(key, name.as_bytes(), sealed)),
        };
        String::from_utf8(plain.ok_or_else(refused)?).map(Zeroizing::new).map_err(|_| refused())
    }

    /// The same secret, its key wrapped with the newest master key; `None`: it is already.
    pub fn rewrap(&self, name: &str, sealed: &[u8]) -> Result<Option<Vec<u8>>, SecretError> {
        let failed = || SecretError::Unencryptable { name: name.to_owned() };
        match self.unwrap(name, sealed) {
            Some(_) if sealed[1..=ID_LEN] == id(&self.newest()) => Ok(None),
            Some((own, rest)) => Ok(Some([self.wrap(name, &own)?.ok_or_else(failed)?.as_slice(), rest].concat())),
            None => self.open_sealed(name, sealed).and_then(|secret| self.seal(name, &secret)).map(Some),
        }
    }

    /// Puts a new master key before those there are, durably. They stay until [`Self::forget_old_keys`].
    pub fn turn(&self, dir: &StateDir) -> Result<(), KeyFileError> {
        self.keys.write().unwrap_or_else(std::sync::PoisonError::into_inner).turn(dir)
    }

    /// Forgets every master key but the newest: nothing is wrapped with another one any more.
    pub fn forget_old_keys(&self, dir: &StateDir) -> Result<(), KeyFileError> {
        self.keys.write().unwrap_or_else(std::sync::PoisonError::into_inner).forget_old(dir)
    }

    /// Reads the key file again: another gateway has turned its keys.
    pub fn reload(&self, dir: &StateDir) -> Result<(), KeyFileError> {
        let mut keys = self.keys.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        *keys = keys.again(dir)?;
        Ok(())
    }

    /// Whether a turn has begun and not ended.
    pub fn is_turning(&self) -> bool {
        self.keys().len() > 1
    }

    fn keys(&self) -> Vec<Secret> {
        self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner).keys().to_vec()
    }

    fn newest(&self) -> Secret {
        self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner).newest()
    }

    fn wrap(&self, name: &str, own: &Secret) -> Result<Option<Vec<u8>>, SecretError> {
        let (master, nonce) = (self.newest(), random::<NONCE_LEN>()?);
        let wrapped = encrypt(&master, &nonce, name.as_bytes(), own.as_slice());
        Ok(wrapped.map(|wrapped| [&[VERSION][..], &id(&master), &nonce, &wrapped].concat()))
    }

    /// The secret's own key, and what it decrypts.
    fn unwrap<'a>(&self, name: &str, sealed: &'a [u8]) -> Option<(Secret, &'a [u8])> {
        let (head, rest) = sealed.split_at_checked(HEAD_LEN)?;
        let (version, head) = head.split_first()?;
        let (wanted, wrapped) = head.split_at_checked(ID_LEN)?;
        if *version != VERSION {
            return None;
        }
        let master = self.keys().into_iter().find(|key| id(key) == wanted)?;
        let own = Zeroizing::new(open(&master, name.as_bytes(), wrapped)?);
        Some((Zeroizing::new(own.as_slice().try_into().ok()?), rest))
    }
}

/// Names a master key without telling anything of it.
fn id(key: &Secret) -> [u8; ID_LEN] {
    let hash = Sha256::new().chain_update(b"openshell master key\n").chain_update(key.as_slice()).finalize();
    let mut id = [0; ID_LEN];
    id.copy_from_slice(&hash[..ID_LEN]);
    id
}

fn encrypt(key: &Secret, nonce: &[u8; NONCE_LEN], aad: &[u8], msg: &[u8]) -> Option<Vec<u8>> {
    ChaCha20Poly1305::new(&Key::from(**key)).encrypt(&Nonce::from(*nonce), Payload { msg, aad }).ok()
}

/// Decrypts a nonce and what follows it.
fn open(key: &Secret, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, msg) = sealed.split_first_chunk::<NONCE_LEN>()?;
    ChaCha20Poly1305::new(&Key::from(**key)).decrypt(&Nonce::from(*nonce), Payload { msg, aad }).ok()
}

/// Seals what is stored elsewhere, under a key made of a passphrase.
pub(crate) struct Sealer(Secret);

impl Sealer {
    /// Encrypts and authenticates. A nonce is used once.
    pub(crate) fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], msg: &[u8]) -> Option<Vec<u8>> {
        encrypt(&self.0, nonce, aad, msg)
    }

    /// What [`Self::seal`] made with the same nonce.
    pub(crate) fn open(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        open(&self.0, aad, &[nonce, sealed].concat())
    }
}

/// A sealer for a passphrase and a salt.
pub(crate) fn sealer(passphrase: &Passphrase, salt: &[u8]) -> Result<Sealer, KeyFileError> {
    passphrase.key(salt).map(Sealer)
}

/// The key whose signature sandboxes demand on generations and artifacts; made on first use.
pub fn signing_key(dir: &StateDir) -> Result<SigningKey, StateDirError> {
    let text =
        Zeroizing::new(dir.read_or_create(SIGNING_KEY_FILE, || Ok(hex::encode(random::<KEY_LEN>()?).into_bytes()))?);
    parse_signing_key(&text).ok_or_else(|| StateDirError::BadKey { path: dir.path(SIGNING_KEY_FILE) })
}

/// A key as its file holds it.
pub(crate) fn parse_signing_key(text: &[u8]) -> Option<SigningKey> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    hex::decode_to_slice(text.trim_ascii(), key.as_mut_slice()).ok()?;
    Some(SigningKey::from_bytes(&key))
}
