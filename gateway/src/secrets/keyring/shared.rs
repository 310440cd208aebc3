//! What gateways share and may turn, as one value: it is sealed, written and taken over as a whole.

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use super::{KeyringError, seal, unseal};
use crate::secrets::Secret;
use crate::signing::SigningKeys;
use crate::state_dir::{StateDir, StateDirError, random};
use crate::store::SealedKeys;
use crate::tls::CaKeys;

/// So many files that were before are known again.
const MAX_PAST: usize = 96;

/// What gateways share and may turn.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Shared {
    pub authority: CaKeys,
    pub signing: SigningKeys,
    /// What gateways show one another.
    pub token: String,
    /// Digests of files that it was before, oldest first: a directory with one of them is of these gateways, and was away.
    past: Vec<String>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

/// What takes the place of keys that were.
pub enum Turned {
    /// The CA.
    Authority(CaKeys),
    /// The signing key.
    Signing(Box<SigningKeys>),
}

impl Shared {
    /// What the first gateway made for all.
    pub fn first(authority: CaKeys, signing: SigningKeys) -> Result<Self, StateDirError> {
        let token = format!("osh_replica_{}", hex::encode(random::<32>()?));
        Ok(Self { authority, signing, token, past: Vec::new() })
    }

    /// The same of gateways of a version whose token followed from the signing key: some of that may run still.
    pub fn of_older(authority: CaKeys, signing: SigningKeys) -> Self {
        let secret: SigningKey = signing.secret();
        let digest = Sha256::new_with_prefix("openshell replica 1").chain_update(secret.to_bytes()).finalize();
        Self { authority, signing, token: format!("osh_replica_{}", hex::encode(digest)), past: Vec::new() }
    }

    /// After a turn.
    pub fn after(&self, turned: Turned) -> Self {
        let mut next = self.clone();
        match turned {
            Turned::Authority(keys) => next.authority = keys,
            Turned::Signing(keys) => next.signing = *keys,
        }
        let gone: Vec<String> = {
            let kept = next.files();
            let gone = self.files().into_iter().filter(|file| !kept.contains(file));
            gone.map(|(name, text)| digest(name, text.as_bytes())).collect()
        };
        next.past.extend(gone);
        let surplus = next.past.len().saturating_sub(MAX_PAST);
        next.past.drain(..surplus);
        next
    }

    /// Under a number that nothing else had.
    pub fn seal(&self, key: &Secret, number: u64) -> Result<SealedKeys, KeyringError> {
        let text = Zeroizing::new(serde_json::to_vec(self).map_err(KeyringError::Unwritable)?);
        Ok(SealedKeys { number, sealed: seal(key, &sealed_as(number), &text)? })
    }

    /// What [`Self::seal`] made; `None`: with another key or number.
    pub fn open(key: &Secret, keys: &SealedKeys) -> Option<Self> {
        let text = unseal(key, &sealed_as(keys.number), &keys.sealed)?;
        serde_json::from_slice(&text).ok()
    }

    /// Files that no other gateway has, and what is in them.
    fn files(&self) -> [(&'static str, &str); 3] {
        let [key, certificate] = self.authority.files();
        [key, certificate, self.signing.file()]
    }

    /// Brings a state directory up to date. Refuses one in which a file is neither what it should be nor what it once was.
    pub fn put(&self, dir: &StateDir) -> Result<(), KeyringError> {
        crate::tls::settle(dir.root())?;
        for (file, text) in self.files() {
            let Ok(found) = std::fs::read(dir.path(file)).map(Zeroizing::new) else { continue };
            let ours = found.trim_ascii() == text.trim().as_bytes() || self.past.contains(&digest(file, &found));
            if !ours {
                return Err(KeyringError::Another { file });
            }
        }
        self.authority.write(dir.root())?;
        Ok(self.signing.write(dir.root(), None)?)
    }
}

fn sealed_as(number: u64) -> String {
    format!("{} {number}", super::KEYS)
}

fn digest(file: &str, text: &[u8]) -> String {
    let hash = Sha256::new_with_prefix("openshell past file 1\n").chain_update(file).chain_update("\n");
    hex::encode(hash.chain_update(text.trim_ascii()).finalize())
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::signing::Signing;
    use crate::tls::Authority;

    const HERE: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn opened(root: &std::path::Path) -> (StateDir, Authority, Signing) {
        let dir = StateDir::open(root).unwrap();
        let authority = Authority::open(&dir, HERE, None).unwrap();
        let signing = Signing::open(&dir).unwrap();
        (dir, authority, signing)
    }

    #[test]
    fn a_directory_that_was_away_is_brought_up_to_date_and_another_one_is_refused() {
        let (near, far, other) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (dir, authority, signing) = opened(near.path());
        let first = Shared::first(authority.keys().unwrap(), signing.keys()).unwrap();
        let (away, _, _) = {
            let away = StateDir::open(far.path()).unwrap();
            first.put(&away).unwrap();
            drop(away);
            opened(far.path())
        };
        let mut now = first.after(Turned::Authority(authority.turned().unwrap()));
        for _ in 0..2 {
            now.put(&dir).unwrap();
            let again = Authority::open(&dir, HERE, None).unwrap();
            assert_eq!(again.fingerprints(), (now.authority.fingerprint(), Some(authority.fingerprints().0)));
        }
        let finished = Authority::open(&dir, HERE, None).unwrap().finished().unwrap();
        now = now.after(Turned::Authority(finished));
        now.put(&away).unwrap();
        assert_eq!(Authority::open(&away, HERE, None).unwrap().fingerprints().0, now.authority.fingerprint());
        // A file of each alone is enough to be refused.
        let (stranger, _, _) = opened(other.path());
        for file in ["signing.key", "ca.pem", "ca.key"] {
            let kept = std::fs::read(away.path(file)).unwrap();
            std::fs::copy(stranger.path(file), away.path(file)).unwrap();
            let refused = now.put(&away).unwrap_err();
            assert!(matches!(refused, KeyringError::Another { file: found } if found == file), "{file}: {refused}");
            std::fs::write(away.path(file), kept).unwrap();
        }
        now.put(&away).unwrap();
    }

    #[test]
    fn it_opens_under_its_own_number_alone() {
        let root = tempfile::tempdir().unwrap();
        let (_dir, authority, signing) = opened(root.path());
        let shared = Shared::first(authority.keys().unwrap(), signing.keys()).unwrap();
        let key: Secret = Zeroizing::new([7; 32]);
        let sealed = shared.seal(&key, 3).unwrap();
        let opened = Shared::open(&key, &sealed).unwrap();
        assert!(opened.token == shared.token && opened.authority == shared.authority);
        assert!(Shared::open(&key, &SealedKeys { number: 4, ..sealed.clone() }).is_none());
        assert!(Shared::open(&Zeroizing::new([8; 32]), &sealed).is_none());
        assert!(!sealed.sealed.windows(12).any(|part| part == b"osh_replica_"));
    }
}
