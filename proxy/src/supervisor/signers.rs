//! Whose signatures generations and artifacts must bear: the keys of the start file, until the gateway says over its link that there are
//! others. A key that is not trusted already is taken only if one that is trusted vouches for it: who holds the link, and no key, can take
//! keys away and add none.

use std::sync::{Arc, PoisonError, RwLock};

use openshell_api::generation::{Generation, GenerationError, SignedGeneration};
use openshell_api::signing::{GatewayKey, Voucher, reachable};
use openshell_policy_host::{Artifact, ArtifactError};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::state::{StateDir, StateError};

const FILE: &str = "gateway-keys.json";

/// What it was told last.
#[derive(Serialize, Deserialize)]
struct Told {
    /// Hash of the start file's credential: who starts a sandbox anew says whose signatures it trusts.
    of: String,
    keys: Vec<GatewayKey>,
}

/// Why it goes on trusting the keys it did.
#[derive(Debug, thiserror::Error)]
pub enum SignersError {
    /// Without a key nothing could ever be enforced again.
    #[error("it was told to trust no key at all")]
    None,
    /// Nobody trusted says that this one may be.
    #[error("no key that is trusted vouches for {0}")]
    Unvouched(Box<GatewayKey>),
    /// What was kept is damaged. The start file's keys may be some that were dropped since, so they are no way out.
    #[error("{FILE} does not parse: {0}")]
    Damaged(serde_json::Error),
    /// It can't be written.
    #[error("it can't be written as JSON: {0}")]
    Unwritable(serde_json::Error),
    /// It can't be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The keys it trusts now.
pub struct Signers {
    state: Arc<StateDir>,
    of: String,
    now: RwLock<Vec<GatewayKey>>,
}

impl Signers {
    /// The start file's keys, or what the gateway said after that. `token` is the start file's credential.
    pub fn open(state: Arc<StateDir>, token: &str, first: Vec<GatewayKey>) -> Result<Self, SignersError> {
        let of = hex::encode(Sha256::digest(token.as_bytes()));
        let kept = state.read(FILE)?.map(|bytes| serde_json::from_slice::<Told>(&bytes));
        let kept = kept.transpose().map_err(SignersError::Damaged)?.filter(|told| told.of == of);
        let now = kept.map_or(first, |told| told.keys);
        Ok(Self { state, of, now: RwLock::new(now) })
    }

    /// All of them.
    pub fn keys(&self) -> Vec<GatewayKey> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is one of them.
    pub fn trusts(&self, key: &GatewayKey) -> bool {
        self.now.read().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// Trusts these keys from now on, and no others. Kept before it holds. Refuses all of them if one is neither trusted nor vouched for.
    pub fn learn(&self, keys: &[GatewayKey], vouchers: &[Voucher]) -> Result<(), SignersError> {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let reached = reachable(&now, vouchers);
        if let Some(unknown) = keys.iter().find(|key| !reached.contains(key)) {
            return Err(SignersError::Unvouched(Box::new(*unknown)));
        }
        if keys.is_empty() {
            return Err(SignersError::None);
        }
        let told = Told { of: self.of.clone(), keys: keys.to_vec() };
        self.state.write(FILE, &serde_json::to_vec(&told).map_err(SignersError::Unwritable)?)?;
        *now = told.keys;
        Ok(())
    }

    /// Checks a generation's signature; answers whose it is, too.
    pub fn verify(&self, signed: &SignedGeneration) -> Result<(Generation, GatewayKey), GenerationError> {
        for key in self.keys() {
            match signed.verify(key.verifying()) {
                Err(GenerationError::BadSignature) => {}
                other => return Ok((other?, key)),
            }
        }
        Err(GenerationError::BadSignature)
    }

    /// Opens an artifact that one of them signed.
    pub fn open_artifact(&self, bytes: &[u8], digest: &str) -> Result<Artifact, ArtifactError> {
        for key in self.keys() {
            match Artifact::open(bytes, digest, key.verifying()) {
                Err(ArtifactError::Signature) => {}
                other => return other,
            }
        }
        Err(ArtifactError::Signature)
    }
}
