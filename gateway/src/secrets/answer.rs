//! Answers that are kept for whoever asks again. They may hold a secret that is kept nowhere else, such as a new token's value, so the
//! database alone must not tell them.

use ed25519_dalek::SigningKey;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{NONCE_LEN, Secret, encrypt, open};
use crate::state_dir::{StateDirError, random};
use crate::store::CallHash;

/// Encrypts an answer under a key that takes the gateway's own and the call's.
pub fn seal(signing: &SigningKey, call: &CallHash, answer: &[u8]) -> Result<Option<Vec<u8>>, StateDirError> {
    let nonce: [u8; NONCE_LEN] = random()?;
    let sealed = encrypt(&key(signing, call), &nonce, call, answer);
    Ok(sealed.map(|sealed| [nonce.as_slice(), &sealed].concat()))
}

/// What [`seal`] encrypted; `None`: it is another gateway's, or was changed.
pub fn unseal(signing: &SigningKey, call: &CallHash, sealed: &[u8]) -> Option<Vec<u8>> {
    open(&key(signing, call), call, sealed)
}

fn key(signing: &SigningKey, call: &CallHash) -> Secret {
    let seed = Zeroizing::new(signing.to_bytes());
    let hash =
        Sha256::new().chain_update(b"openshell kept answer v1\n").chain_update(seed.as_slice()).chain_update(call);
    Zeroizing::new(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_opens_for_its_own_call_and_gateway() {
        let (ours, theirs) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let sealed = seal(&ours, &[3; 32], b"an answer").unwrap().unwrap();
        assert!(!sealed.windows(9).any(|part| part == b"an answer"));
        assert_eq!(unseal(&ours, &[3; 32], &sealed).as_deref(), Some(b"an answer".as_slice()));
        assert_eq!(unseal(&theirs, &[3; 32], &sealed), None);
        assert_eq!(unseal(&ours, &[4; 32], &sealed), None);
        assert_eq!(unseal(&ours, &[3; 32], &sealed[..5]), None);
    }
}
