//! Having a sandbox forget what its sessions contained. The gateway forgets when the supervisor's word comes, behind every rise that was
//! told before it: a rise that comes later is of what was seen since.

use std::time::Duration;

use openshell_api::link::{FromSupervisor, ToSupervisor};

use super::questions::Questions;
use super::{Link, Unanswered};
use crate::audit::Change;
use crate::gateway::Gateway;
use crate::store::StoreError;

/// Longest wait for the supervisor, and for what it reported before.
const PATIENCE: Duration = Duration::from_secs(30);

/// Resets that the supervisor was asked for: of which session, and what the audit trail is told. Answered with how many there were.
pub(super) type Resets = Questions<u64, (Option<String>, Change)>;

/// Has one session forgotten, or all of them; answers how many there were. Unanswered, nobody knows: what the gateway still remembers, the
/// supervisor learns again with its next link.
pub async fn reset(link: &Link, session: Option<String>, change: Change) -> Result<u64, Unanswered> {
    let about = (session.clone(), change);
    link.resets.ask(link, PATIENCE, about, |id| ToSupervisor::ResetSessions { id, session }).await
}

/// The supervisor forgot, and everything it told before is kept: now the gateway forgets. One that nobody waits for any more is left
/// as it is.
pub(super) async fn done(gateway: &Gateway, link: &Link, id: &str) -> Result<(), StoreError> {
    let Some((session, change)) = link.resets.about(id) else {
        // Another gateway may have asked.
        let _ = link.relays.pass(FromSupervisor::SessionsReset { id: id.to_owned() }).await;
        return Ok(());
    };
    let forgotten = gateway.store.forget_sessions(link.sandbox_id(), session.as_deref(), &change).await?;
    link.resets.answer(id, forgotten);
    Ok(())
}
