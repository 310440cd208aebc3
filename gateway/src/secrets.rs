//! Secrets at rest: the key that encrypts provider secrets, and the key that signs generations.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

use crate::state_dir::{StateDir, StateDirError, random};

const NONCE_LEN: usize = 12;

/// Encrypts secrets before they reach the database.
pub struct SecretBox {
    cipher: ChaCha20Poly1305,
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
    /// Reads the key file, or makes one.
    pub fn open(dir: &StateDir) -> Result<Self, StateDirError> {
        let key = key_file(dir, "secrets.key")?;
        Ok(Self { cipher: ChaCha20Poly1305::new(&Key::from(*key)) })
    }

    /// Encrypts under a fresh nonce; the result decrypts only for the same name.
    pub fn seal(&self, name: &str, secret: &str) -> Result<Vec<u8>, SecretError> {
        let nonce: [u8; NONCE_LEN] = random()?;
        let sealed = self
            .cipher
            .encrypt(&Nonce::from(nonce), Payload { msg: secret.as_bytes(), aad: name.as_bytes() })
            .map_err(|_| SecretError::Unencryptable { name: name.to_owned() })?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts what [`Self::seal`] made for this name.
    pub fn open_sealed(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<String>, SecretError> {
        let refused = || SecretError::Undecryptable { name: name.to_owned() };
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(refused)?;
        let plain = self
            .cipher
            .decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: name.as_bytes() })
            .map_err(|_| refused())?;
        String::from_utf8(plain).map(Zeroizing::new).map_err(|_| refused())
    }
}

/// The key whose signature sandboxes demand on generations and artifacts; made on first use.
pub fn signing_key(dir: &StateDir) -> Result<SigningKey, StateDirError> {
    Ok(SigningKey::from_bytes(&*key_file(dir, "signing.key")?))
}

fn key_file(dir: &StateDir, name: &str) -> Result<Zeroizing<[u8; 32]>, StateDirError> {
    let text = Zeroizing::new(dir.read_or_create(name, || {
        let key: [u8; 32] = random()?;
        Ok(hex::encode(key).into_bytes())
    })?);
    let bad = || StateDirError::BadKey { path: dir.path(name) };
    let mut key = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim_ascii(), key.as_mut_slice()).map_err(|_| bad())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_only_under_its_own_name_and_key() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::open(root.path()).unwrap();
        let secrets = SecretBox::open(&dir).unwrap();
        let sealed = secrets.seal("openai", "sk-1").unwrap();
        assert!(!sealed.windows(4).any(|window| window == b"sk-1"));
        assert_eq!(*SecretBox::open(&dir).unwrap().open_sealed("openai", &sealed).unwrap(), "sk-1");
        assert!(secrets.open_sealed("other", &sealed).is_err());
        assert!(secrets.open_sealed("openai", &sealed[..20]).is_err());

        let elsewhere = tempfile::tempdir().unwrap();
        let other = SecretBox::open(&StateDir::open(elsewhere.path()).unwrap()).unwrap();
        assert!(other.open_sealed("openai", &sealed).is_err());
    }

    #[test]
    fn a_state_directory_serves_one_gateway() {
        let root = tempfile::tempdir().unwrap();
        let first = StateDir::open(root.path()).unwrap();
        assert!(matches!(StateDir::open(root.path()), Err(StateDirError::Busy { .. })));
        drop(first);
        StateDir::open(root.path()).unwrap();
    }
}
