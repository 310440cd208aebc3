//! Keeps a link's credentials fresh, and ends the link with them. `identity/supervisors` says what they are.

use std::sync::Arc;
use std::time::Duration;

use openshell_api::link::ToSupervisor;
use tokio::time::{Instant, sleep_until};

use super::Link;
use crate::gateway::Gateway;
use crate::identity::supervisors::{self, Pair};
use crate::store::{KeyKind, KeyState, SupervisorKey};

/// Least time between two offers.
const LEAST_PAUSE: Duration = Duration::from_millis(250);

/// Renews the credentials of a link for as long as it lives; closes it when what opened it has expired and nothing newer was
/// acknowledged.
pub(super) async fn keep_fresh(gateway: Arc<Gateway>, link: Arc<Link>, key: SupervisorKey, rekeys: bool) {
    if key.state == KeyState::Legacy && !rekeys {
        // Started by an older gateway; it gets other credentials when its sandbox is started anew.
        return;
    }
    let life = gateway.identities.key_life();
    let now = Instant::now();
    let remaining = match (key.kind, key.expires) {
        // A clock that jumped back must not make a key live longer.
        (KeyKind::Key, Some(at)) => at.duration_since(jiff::Timestamp::now()).unsigned_abs().min(life),
        (KeyKind::Key | KeyKind::Refresh, _) => life,
    };
    let mut end = now + remaining;
    // A refresh is to be used up at once; a key is renewed in the middle of its life.
    let mut next = match key.kind {
        KeyKind::Key => (end - life / 2).max(now),
        KeyKind::Refresh => now,
    };
    let again = (life / 8).max(LEAST_PAUSE);
    let mut kept = link.kept.subscribe();
    loop {
        tokio::select! {
            () = link.closed.cancelled() => return,
            () = sleep_until(end) => {
                tracing::warn!(sandbox = link.sandbox_id(), "a link ends with its credentials: they were not renewed");
                link.close();
                return;
            }
            () = sleep_until(next), if rekeys => {
                next = Instant::now() + again;
                if let Err(error) = offer(&gateway, &link, life).await {
                    tracing::warn!(sandbox = link.sandbox_id(), error, "new credentials could not be given out");
                }
            }
            Ok(()) = kept.changed() => {
                let pair = *kept.borrow_and_update();
                match supervisors::accept(&gateway, link.sandbox_id(), pair).await {
                    Ok(true) => {
                        end = Instant::now() + life;
                        next = Instant::now() + life / 2;
                    }
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(sandbox = link.sandbox_id(), %error, "new credentials could not be made to count");
                        next = Instant::now() + again;
                    }
                }
            }
        }
    }
}

async fn offer(gateway: &Gateway, link: &Link, life: Duration) -> Result<(), String> {
    let pair = supervisors::offer(gateway, link.sandbox_id(), life).await.map_err(|error| error.to_string())?;
    let Pair { id, key, refresh } = pair;
    let sent = link.send(ToSupervisor::Rekey { id, key, refresh, lifetime_s: life.as_secs() }).await;
    sent.map_err(|error| error.to_string())
}
