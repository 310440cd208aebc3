//! Credentials of supervisors: short-lived, renewed over the live link, good for the link of one sandbox and nothing else.
//!
//! A supervisor is started with a *first* credential. Over its link it is given pairs: a *key*, which opens the link for
//! as long as it lives, and a *refresh*, which opens it once the key has expired. A pair counts from when the supervisor says that
//! it is kept, or shows it; then the refresh before it (the first credential is one) is used up, and the key before it lives for
//! [`OVERLAP`] more. A link that is not renewed ends when what opened it would.
//!
//! A refresh does not expire by time. A sandbox goes on enforcing however long its gateway is away, and must find back: a limit would
//! have to be longer than any absence, and a clock that jumps would shut out all sandboxes at once. What bounds it instead is that
//! it is good once. If a used one is shown, two parties have it, and nobody can tell which is the supervisor: every
//! credential of the sandbox is revoked, and `sandbox stop` and `start` give it new ones.

use std::time::Duration;

use openshell_api::link::Sensitive;
use serde_json::json;

use super::tokens;
use crate::audit::Change;
use crate::error::ApiResult;
use crate::gateway::Gateway;
use crate::store::{KeyState, SupervisorKey};

/// How long a key stays good after the next one counts: requests that are under way, and a supervisor that dies as it learns of it.
pub const OVERLAP: Duration = Duration::from_secs(60);
/// How long a key lives.
pub const KEY_LIFE: Duration = Duration::from_secs(3600);
/// Prefix of every credential of a supervisor.
pub const PREFIX: &str = "osh_supervisor";

/// A pair to be given out.
pub struct Pair {
    /// Its number.
    pub id: u64,
    /// Opens the link while it lives.
    pub key: Sensitive,
    /// Opens it once.
    pub refresh: Sensitive,
}

/// Makes a pair for a sandbox, whose key lives for `life`.
pub async fn offer(gateway: &Gateway, sandbox_id: &str, life: Duration) -> ApiResult<Pair> {
    let (key, refresh) = (tokens::generate(PREFIX)?, tokens::generate(PREFIX)?);
    let expires = jiff::Timestamp::now() + life;
    let (key_hash, refresh_hash) = (tokens::hash(&key), tokens::hash(&refresh));
    let id = gateway.store.offer_supervisor_keys(sandbox_id, &key_hash, &refresh_hash, expires).await?;
    let sensitive = |text: &str| Sensitive(text.to_owned());
    Ok(Pair { id: id.unsigned_abs(), key: sensitive(&key), refresh: sensitive(&refresh) })
}

/// The supervisor has this pair.
pub async fn accept(gateway: &Gateway, sandbox_id: &str, pair: u64) -> ApiResult<bool> {
    let pair = i64::try_from(pair).unwrap_or(i64::MAX);
    Ok(gateway.store.accept_supervisor_keys(sandbox_id, pair, jiff::Timestamp::now() + OVERLAP).await?)
}

/// Takes a credential at the door of the link. `false`: it is a used one, and now nothing opens the link any more.
pub async fn admit(gateway: &Gateway, key: &SupervisorKey) -> ApiResult<bool> {
    match key.state {
        KeyState::Used => {
            let id = key.sandbox_id.as_str();
            tracing::error!(sandbox = id, "a used credential was shown: somebody else has it; all of them are revoked");
            gateway.store.revoke_supervisor_keys(id).await?;
            gateway.end_link(id).await;
            let name = gateway.store.sandbox(id).await?.map(|row| row.name.to_string()).unwrap_or_default();
            let detail = json!({ "reason": "a credential of its supervisor was shown that had been used up",
                "then": "all of them were revoked; stop and start the sandbox to give it new ones" });
            let change = Change::new(None, "supervisor.credential_copied", name).noticed().detail(detail);
            gateway.store.tell(&change).await?;
            Ok(false)
        }
        // Whoever shows it has it, whether or not its word arrived.
        KeyState::Offered => accept(gateway, &key.sandbox_id, key.pair.unsigned_abs()).await.map(|_| true),
        KeyState::Current | KeyState::Old | KeyState::Legacy => Ok(true),
    }
}
