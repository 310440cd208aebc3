//! Having a sandbox forget what its sessions contained. The gateway forgets when the supervisor's word comes, behind every rise that was
//! told before it: a rise that comes later is of what was seen since.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openshell_api::link::{FromSupervisor, ToSupervisor};
use tokio::sync::oneshot;

use super::{Link, LinkClosed};
use crate::audit::Change;
use crate::gateway::Gateway;
use crate::store::StoreError;

/// Longest wait for the supervisor, and for what it reported before.
const PATIENCE: Duration = Duration::from_secs(30);

/// Resets that the supervisor was asked for.
#[derive(Default)]
pub(super) struct Resets(Mutex<HashMap<String, Reset>>);

struct Reset {
    session: Option<String>,
    change: Change,
    asker: oneshot::Sender<u64>,
}

/// Why nobody knows that sessions are forgotten. What the gateway still remembers, the supervisor learns again with its next link.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// The link ended.
    #[error(transparent)]
    Closed(#[from] LinkClosed),
    /// No answer came.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
}

impl Resets {
    /// Nobody will answer any more.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Reset>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has one session forgotten, or all of them; answers how many there were.
pub async fn reset(link: &Link, session: Option<String>, change: Change) -> Result<u64, ResetError> {
    let id = ulid::Ulid::generate().to_string();
    let (asker, answer) = oneshot::channel();
    link.resets.lock().insert(id.clone(), Reset { session: session.clone(), change, asker });
    let told = async {
        link.send(ToSupervisor::ResetSessions { id: id.clone(), session }).await?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(forgotten)) => Ok(forgotten),
            Ok(Err(_)) => Err(LinkClosed.into()),
            Err(_) => Err(ResetError::Silent),
        }
    };
    let told = told.await;
    link.resets.lock().remove(&id);
    told
}

/// The supervisor forgot, and everything it told before is kept: now the gateway forgets. One that nobody waits for any more is left
/// as it is.
pub(super) async fn done(gateway: &Gateway, link: &Link, id: &str) -> Result<(), StoreError> {
    let asked = link.resets.lock().get(id).map(|reset| (reset.session.clone(), reset.change.clone()));
    let Some((session, change)) = asked else {
        // Another gateway may have asked.
        let _ = link.relays.pass(FromSupervisor::SessionsReset { id: id.to_owned() }).await;
        return Ok(());
    };
    let forgotten = gateway.store.forget_sessions(link.sandbox_id(), session.as_deref(), &change).await?;
    if let Some(reset) = link.resets.lock().remove(id) {
        // Whoever asked may have gone.
        let _ = reset.asker.send(forgotten);
    }
    Ok(())
}
