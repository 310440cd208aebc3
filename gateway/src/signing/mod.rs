//! The key that signs what sandboxes enforce, and its turn to another one.
//!
//! 1. A next key is made and vouched for by the one that signs (`introduce`). Supervisors are told to trust both.
//! 2. Once all that are linked do, the next key signs (`change`), at one moment: the one at which its file takes the other's place. What was
//!    encrypted or signed with the one before for the gateway itself is done anew, and its secret forgotten (`settle`).
//! 3. Every generation is signed anew and delivered (`push/renewal`).
//! 4. The one before is trusted no more (`finish`). Its voucher stays: whoever was away learns of the new key by it.
//!
//! [`turn`] keeps on disk how far it is, [`rotation`] leads through it. After a crash anywhere it goes on where it was.

mod awaits;
pub mod rotation;
#[cfg(test)]
mod tests;
mod turn;

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ed25519_dalek::SigningKey;
use openshell_api::generation::SignedGeneration;
use openshell_api::signing::{GatewayKey, Voucher};

use crate::secrets;
use crate::state_dir::{StateDir, StateDirError, random};
use turn::{Previous, Seed, Turn};
pub use turn::{SigningKeys, TURN_FILE};

/// Why the key does not turn.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// Files.
    #[error(transparent)]
    Files(#[from] StateDirError),
    /// The key before this one is still trusted.
    #[error("the signing key has turned already, and the one before is still trusted")]
    Turning,
    /// No other key is trusted.
    #[error("no other signing key than this one is trusted")]
    NotTurning,
    /// The next one does not sign yet.
    #[error("the next signing key does not sign yet")]
    Unused,
}

/// A gateway's signing key.
pub struct Signing {
    root: PathBuf,
    state: RwLock<SigningKeys>,
    /// Held by whoever leads a turn on.
    going: tokio::sync::Mutex<()>,
}

impl Signing {
    /// Reads the key (or makes one), and how far its turn is.
    pub fn open(dir: &StateDir) -> Result<Self, SigningError> {
        Self::of(dir.root(), secrets::signing_key(dir)?)
    }

    /// The same of a directory whose key was read. A change that was cut off is ended, or has not happened.
    pub fn of(root: &Path, key: SigningKey) -> Result<Self, SigningError> {
        let found = Turn::read(root)?;
        let turn = found.clone().where_signs(&GatewayKey::of(&key));
        if turn != found {
            turn.write(root)?;
        }
        Ok(Self {
            root: root.to_owned(),
            state: RwLock::new(SigningKeys { key: Seed::new(&key), turn }),
            going: tokio::sync::Mutex::default(),
        })
    }

    fn state(&self) -> RwLockReadGuard<'_, SigningKeys> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> RwLockWriteGuard<'_, SigningKeys> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key that signs.
    pub fn key(&self) -> SigningKey {
        self.state().key.key()
    }

    /// Its public half.
    pub fn public(&self) -> GatewayKey {
        self.state().key.public()
    }

    /// The key that is to sign next.
    pub fn next(&self) -> Option<GatewayKey> {
        self.state().turn.next.as_ref().map(Seed::public)
    }

    /// The key that signed before, while it is trusted.
    pub fn previous(&self) -> Option<GatewayKey> {
        self.state().turn.previous.as_ref().map(|previous| previous.key)
    }

    /// The key before this one with its secret, until everything of the gateway's own has been done anew.
    pub fn left_over(&self) -> Option<SigningKey> {
        self.state().turn.previous.as_ref().and_then(|previous| previous.secret.as_ref()).map(|secret| secret.key())
    }

    /// Every key that signed before this one.
    pub fn past(&self) -> Vec<GatewayKey> {
        let state = self.state();
        let own = state.key.public();
        state.turn.vouchers.iter().map(|voucher| voucher.by).filter(|by| *by != own).collect()
    }

    /// The keys that supervisors are to trust, and how each followed from the one before.
    pub fn trusted(&self) -> (Vec<GatewayKey>, Vec<Voucher>) {
        let SigningKeys { key, turn } = &*self.state();
        let others = turn.previous.iter().map(|previous| previous.key).chain(turn.next.iter().map(Seed::public));
        (std::iter::once(key.public()).chain(others).collect(), turn.vouchers.clone())
    }

    /// The voucher for the key that signs; absent: it was the first.
    pub fn voucher(&self) -> Option<Voucher> {
        let state = self.state();
        let own = state.key.public();
        state.turn.vouchers.iter().rfind(|voucher| voucher.key == own).cloned()
    }

    /// Whether a head that this key signed is the gateway's own.
    pub fn owns(&self, key: &GatewayKey) -> bool {
        *key == self.public() || self.left_over().is_some_and(|left| GatewayKey::of(&left) == *key)
    }

    /// Whose signature a generation bears, of the keys that are, were before, or are to be; `None`: of none of them.
    pub fn signer(&self, generation: &SignedGeneration) -> Option<GatewayKey> {
        self.trusted().0.into_iter().find(|key| generation.verify(key.verifying()).is_ok())
    }

    /// The key with its secret, and how far its turn is.
    pub fn keys(&self) -> SigningKeys {
        self.state().clone()
    }

    /// Takes keys in the place of those that are, durably.
    pub fn take(&self, next: SigningKeys) -> Result<(), SigningError> {
        let mut state = self.changing();
        next.write(&self.root, Some(&state.key.public()))?;
        *state = next;
        Ok(())
    }

    /// With a next key, made and not taken. `None`: there is one. Refuses while the key before is trusted.
    pub(crate) fn introduced(&self) -> Result<Option<SigningKeys>, SigningError> {
        let SigningKeys { key, turn } = self.keys();
        if turn.previous.is_some() {
            return Err(SigningError::Turning);
        }
        if turn.next.is_some() {
            return Ok(None);
        }
        let next = Seed::new(&SigningKey::from_bytes(&random()?));
        let turn = turn.with_next(next, &key.key());
        Ok(Some(SigningKeys { key, turn }))
    }

    /// With the next key as the one that signs. Refuses where there is none.
    pub(crate) fn changed(&self) -> Result<SigningKeys, SigningError> {
        let SigningKeys { key, turn } = self.keys();
        let next = turn.next.clone().ok_or(SigningError::NotTurning)?;
        let turn = Turn { next: None, previous: Some(Previous::of(&key.key())), ..turn };
        Ok(SigningKeys { key: next, turn })
    }

    /// Without the secret of the key before.
    pub(crate) fn settled(&self) -> SigningKeys {
        let mut keys = self.keys();
        if let Some(previous) = &mut keys.turn.previous {
            previous.secret = None;
        }
        keys
    }

    /// Without the key before: it is trusted no more. Refuses where there is none.
    pub(crate) fn finished(&self) -> Result<SigningKeys, SigningError> {
        let SigningKeys { key, turn } = self.keys();
        match (&turn.previous, &turn.next) {
            (Some(_), _) => Ok(SigningKeys { key, turn: Turn { previous: None, ..turn } }),
            (None, Some(_)) => Err(SigningError::Unused),
            (None, None) => Err(SigningError::NotTurning),
        }
    }
}
