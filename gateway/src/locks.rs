//! Who changes what: changes of the same thing never interleave, in one gateway or among several of one database.
//!
//! Each lock is taken in this process first and then, where the database is shared, as an advisory lock of PostgreSQL, in a transaction
//! that is open for as long as the lock is held ([`Claim`]). So it ends with the gateway, however that dies, and at most one of a
//! gateway's callers waits for the same lock there. A gateway that loses its connection while it holds a lock goes on without: what it
//! then commits is refused if another one was faster, for two generations of a sandbox never have the same number.
//!
//! The CA and the signing key turn under what is gateway-wide alone. Whoever holds that has the keys of now: they are taken over first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::error::ApiResult;
use crate::store::{Claim, Claimed, Store};

/// The locks there are. Whoever changes single sandboxes holds what is gateway-wide shared and then the sandboxes' own locks; whoever
/// changes all of them holds it alone and then each.
pub struct Locks {
    store: Store,
    gateway_wide: Arc<RwLock<()>>,
    rollouts: Arc<tokio::sync::Mutex<()>>,
    sandboxes: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// Locks that are held until this is dropped. More are taken in the order of the methods here.
#[must_use]
pub struct Held<'a> {
    locks: &'a Locks,
    claim: Option<Claim>,
    _rollouts: Option<OwnedMutexGuard<()>>,
    _shared: Option<OwnedRwLockReadGuard<()>>,
    _alone: Option<OwnedRwLockWriteGuard<()>>,
    _sandboxes: Vec<OwnedMutexGuard<()>>,
}

impl Locks {
    /// None is taken.
    pub fn new(store: Store) -> Self {
        Self { store, gateway_wide: Arc::default(), rollouts: Arc::default(), sandboxes: Mutex::default() }
    }

    /// Rollouts begin and end one at a time. Taken before any other.
    pub async fn rollouts(&self) -> ApiResult<Held<'_>> {
        let mut held = self.nothing();
        held._rollouts = Some(self.rollouts.clone().lock_owned().await);
        held.claim(Claimed::Rollouts).await?;
        Ok(held)
    }

    /// What belongs to all sandboxes (backends, providers, the ceiling, the set of sandboxes) stays as it is.
    pub async fn shared(&self) -> ApiResult<Held<'_>> {
        let mut held = self.nothing();
        held._shared = Some(self.gateway_wide.clone().read_owned().await);
        held.claim(Claimed::GatewayWide { alone: false }).await?;
        self.store.adopt().await?;
        Ok(held)
    }

    /// To change what belongs to all sandboxes.
    pub async fn alone(&self) -> ApiResult<Held<'_>> {
        let mut held = self.nothing();
        held._alone = Some(self.gateway_wide.clone().write_owned().await);
        held.claim(Claimed::GatewayWide { alone: true }).await?;
        self.store.adopt().await?;
        Ok(held)
    }

    /// To change one sandbox where nothing depends on what belongs to all.
    pub async fn sandbox(&self, id: &str) -> ApiResult<Held<'_>> {
        self.nothing().and([id]).await
    }

    /// Forgets the lock of a sandbox that is gone.
    pub fn forget(&self, id: &str) {
        self.table().remove(id);
    }

    fn nothing(&self) -> Held<'_> {
        Held { locks: self, claim: None, _rollouts: None, _shared: None, _alone: None, _sandboxes: Vec::new() }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<()>>>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held<'_> {
    /// The same with these sandboxes' own locks, too.
    pub async fn and(mut self, ids: impl IntoIterator<Item = &str>) -> ApiResult<Self> {
        self.add(ids).await?;
        Ok(self)
    }

    /// Takes these sandboxes' own locks, too.
    pub async fn add(&mut self, ids: impl IntoIterator<Item = &str>) -> ApiResult<()> {
        let mut ids: Vec<&str> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        for id in &ids {
            let lock = self.locks.table().entry((*id).to_owned()).or_default().clone();
            self._sandboxes.push(lock.lock_owned().await);
        }
        match ids.is_empty() {
            true => Ok(()),
            false => self.claim(Claimed::Sandboxes(&ids)).await,
        }
    }

    async fn claim(&mut self, what: Claimed<'_>) -> ApiResult<()> {
        if self.locks.store.is_shared() {
            match &mut self.claim {
                Some(claim) => claim.add(what).await.map_err(crate::store::StoreError::from)?,
                none => *none = Some(self.locks.store.claim(what).await?),
            }
        }
        Ok(())
    }
}
