//! The key that signs what sandboxes enforce, and its turn to another one.
//!
//! 1. A next key is made and vouched for by the one that signs (`introduce`). Supervisors are told to trust both.
//! 2. Once all that are linked do, the next key signs (`change`), at one moment: the one at which its file takes the other's place. What was
//!    encrypted or signed with the one before for the gateway itself is done anew, and its secret forgotten (`settle`).
//! 3. Every generation is signed anew and delivered (`push/renewal`).
//! 4. The one before is trusted no more (`finish`). Its voucher stays: whoever was away learns of the new key by it.
//!
//! [`turn`] keeps on disk how far it is, [`rotation`] leads through it. After a crash anywhere it goes on where it was.

pub mod rotation;
#[cfg(test)]
mod tests;
mod turn;

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ed25519_dalek::SigningKey;
use openshell_api::signing::{GatewayKey, Voucher};

use crate::secrets::{self, SIGNING_KEY_FILE};
use crate::state_dir::{StateDir, StateDirError, random, write_private};
pub use turn::TURN_FILE;
use turn::{Previous, Seed, Turn};

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
    state: RwLock<State>,
}

struct State {
    key: SigningKey,
    turn: Turn,
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
        Ok(Self { root: root.to_owned(), state: RwLock::new(State { key, turn }) })
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key that signs.
    pub fn key(&self) -> SigningKey {
        self.state().key.clone()
    }

    /// Its public half.
    pub fn public(&self) -> GatewayKey {
        GatewayKey::of(&self.state().key)
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
        let own = GatewayKey::of(&state.key);
        state.turn.vouchers.iter().map(|voucher| voucher.by).filter(|by| *by != own).collect()
    }

    /// The keys that supervisors are to trust, and how each followed from the one before.
    pub fn trusted(&self) -> (Vec<GatewayKey>, Vec<Voucher>) {
        let State { key, turn } = &*self.state();
        let others = turn.previous.iter().map(|previous| previous.key).chain(turn.next.iter().map(Seed::public));
        (std::iter::once(GatewayKey::of(key)).chain(others).collect(), turn.vouchers.clone())
    }

    /// The voucher for the key that signs; absent: it was the first.
    pub fn voucher(&self) -> Option<Voucher> {
        let state = self.state();
        let own = GatewayKey::of(&state.key);
        state.turn.vouchers.iter().rfind(|voucher| voucher.key == own).cloned()
    }

    /// Whether a head that this key signed is the gateway's own.
    pub fn owns(&self, key: &GatewayKey) -> bool {
        *key == self.public() || self.left_over().is_some_and(|left| GatewayKey::of(&left) == *key)
    }

    /// Makes the next key, durably. `false`: there is one. Refuses while the key before is trusted.
    fn introduce(&self) -> Result<bool, SigningError> {
        let mut state = self.changing();
        if state.turn.previous.is_some() {
            return Err(SigningError::Turning);
        }
        if state.turn.next.is_some() {
            return Ok(false);
        }
        let next = Seed::new(&SigningKey::from_bytes(&random()?));
        let turn = state.turn.clone().with_next(next, &state.key);
        turn.write(&self.root)?;
        state.turn = turn;
        Ok(true)
    }

    /// The next key signs from now on. Refuses where there is none.
    fn change(&self) -> Result<(), SigningError> {
        let mut state = self.changing();
        let next = state.turn.next.as_ref().map(Seed::key).ok_or(SigningError::NotTurning)?;
        let turn = Turn { previous: Some(Previous::of(&state.key)), ..state.turn.clone() };
        turn.write(&self.root)?;
        // The one moment.
        let seed = Seed::new(&next);
        write_private(&self.root.join(SIGNING_KEY_FILE), seed.text().as_bytes())?;
        let turn = turn.where_signs(&GatewayKey::of(&next));
        (state.key, state.turn) = (next, turn);
        Ok(state.turn.write(&self.root)?)
    }

    /// Forgets the secret of the key before.
    fn settle(&self) -> Result<(), SigningError> {
        let mut state = self.changing();
        let mut turn = state.turn.clone();
        if let Some(previous) = &mut turn.previous {
            previous.secret = None;
        }
        turn.write(&self.root)?;
        state.turn = turn;
        Ok(())
    }

    /// The key before is trusted no more. Refuses where there is none.
    fn finish(&self) -> Result<(), SigningError> {
        let mut state = self.changing();
        match (&state.turn.previous, &state.turn.next) {
            (Some(_), _) => {}
            (None, Some(_)) => return Err(SigningError::Unused),
            (None, None) => return Err(SigningError::NotTurning),
        }
        let turn = Turn { previous: None, ..state.turn.clone() };
        turn.write(&self.root)?;
        state.turn = turn;
        Ok(())
    }
}
