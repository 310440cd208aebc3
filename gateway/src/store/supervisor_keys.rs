//! Credentials of supervisors: pairs of a key, which is short-lived, and a refresh, which is good once.

use super::db::{Transaction, Turn, query, query_scalar};
use super::{Store, StoreError, millis};
use crate::identity::tokens::TokenHash;

/// Used refreshes that are known again, per sandbox: pairs before the newest.
const USED_KEPT: i64 = 64;

/// What opens a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// For as long as it lives.
    Key,
    /// Once.
    Refresh,
}

/// Where a credential stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Given out; not yet heard of. Whoever shows it has it.
    Offered,
    /// The one to use.
    Current,
    /// Replaced a moment ago.
    Old,
    /// A refresh that was used up: whoever shows it has a copy.
    Used,
    /// Of a supervisor that was started before there was rotation; good until its sandbox is started anew.
    Legacy,
}

/// A credential that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupervisorKey {
    /// Whose.
    pub sandbox_id: String,
    /// With which other one it was given out.
    pub pair: i64,
    /// What it is.
    pub kind: KeyKind,
    /// Where it stands.
    pub state: KeyState,
    /// When it expires; absent: not by time.
    pub expires: Option<jiff::Timestamp>,
}

impl Store {
    /// Whose a credential is.
    pub async fn supervisor_key(&self, hash: &TokenHash) -> Result<Option<SupervisorKey>, StoreError> {
        let row = query("SELECT sandbox_id, pair, kind, state, expires_ms FROM supervisor_keys WHERE hash = $1")
            .bind(hash.as_slice())
            .fetch_optional(&self.read)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let unknown = |value: &str| StoreError::Unknown { what: "supervisor key", value: value.to_owned() };
        Ok(Some(SupervisorKey {
            sandbox_id: row.try_get("sandbox_id")?,
            pair: row.try_get("pair")?,
            kind: match row.try_get("kind")? {
                "key" => KeyKind::Key,
                "refresh" => KeyKind::Refresh,
                other => return Err(unknown(other)),
            },
            state: match row.try_get("state")? {
                "offered" => KeyState::Offered,
                "current" => KeyState::Current,
                "old" => KeyState::Old,
                "used" => KeyState::Used,
                "legacy" => KeyState::Legacy,
                other => return Err(unknown(other)),
            },
            expires: millis(row.try_get("expires_ms")?)?,
        }))
    }

    /// Forgets every credential of a sandbox but a first one, with which its supervisor is started.
    pub async fn first_supervisor_key(&self, sandbox_id: &str, hash: &TokenHash) -> Result<(), StoreError> {
        let mut tx = self.write.begin(Turn::Sandbox(sandbox_id)).await?;
        query("DELETE FROM supervisor_keys WHERE sandbox_id = $1").bind(sandbox_id).execute(&mut tx).await?;
        insert_first(&mut tx, sandbox_id, hash).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Forgets every credential of a sandbox.
    pub async fn revoke_supervisor_keys(&self, sandbox_id: &str) -> Result<(), StoreError> {
        query("DELETE FROM supervisor_keys WHERE sandbox_id = $1").bind(sandbox_id).execute(&self.write).await?;
        Ok(())
    }

    /// Keeps a pair that is about to be given out; answers its number. Earlier ones that were not heard of stay good, for one of
    /// them may be what the supervisor has.
    pub async fn offer_supervisor_keys(
        &self,
        sandbox_id: &str,
        key: &TokenHash,
        refresh: &TokenHash,
        expires: jiff::Timestamp,
    ) -> Result<i64, StoreError> {
        let mut tx = self.write.begin(Turn::Sandbox(sandbox_id)).await?;
        let pair: i64 = query_scalar("SELECT COALESCE(max(pair), 0) + 1 FROM supervisor_keys WHERE sandbox_id = $1")
            .bind(sandbox_id)
            .fetch_one(&mut tx)
            .await?;
        for (hash, kind, expires) in [(key, "key", Some(expires.as_millisecond())), (refresh, "refresh", None)] {
            query(
                "INSERT INTO supervisor_keys (hash, sandbox_id, pair, kind, state, expires_ms)
                 VALUES ($1, $2, $3, $4, 'offered', $5)",
            )
            .bind(hash.as_slice())
            .bind(sandbox_id)
            .bind(pair)
            .bind(kind)
            .bind(expires)
            .execute(&mut tx)
            .await?;
        }
        tx.commit().await?;
        Ok(pair)
    }

    /// The supervisor has a pair: it counts, the key before it for a moment longer, and the refresh before it no more. `false`: that
    /// was known.
    pub async fn accept_supervisor_keys(
        &self,
        sandbox_id: &str,
        pair: i64,
        old_until: jiff::Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write.begin(Turn::Sandbox(sandbox_id)).await?;
        let done = query(
            "UPDATE supervisor_keys SET state = 'current' WHERE sandbox_id = $1 AND pair = $2 AND state = 'offered'",
        )
        .bind(sandbox_id)
        .bind(pair)
        .execute(&mut tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        for sql in [
            "UPDATE supervisor_keys SET state = 'used' WHERE sandbox_id = $1 AND pair < $2 AND kind = 'refresh'
             AND state IN ('current', 'legacy')",
            "UPDATE supervisor_keys SET state = 'old', expires_ms = CASE WHEN expires_ms < $3 THEN expires_ms ELSE $3 END
             WHERE sandbox_id = $1 AND pair < $2 AND kind = 'key' AND state = 'current'",
            "DELETE FROM supervisor_keys WHERE sandbox_id = $1 AND pair < $2 AND (state = 'offered'
             OR state = 'used' AND pair < $2 - $4 OR state = 'old' AND expires_ms < $3 - 3600000)",
        ] {
            query(sql)
                .bind(sandbox_id)
                .bind(pair)
                .bind(old_until.as_millisecond())
                .bind(USED_KEPT)
                .execute(&mut tx)
                .await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

/// Keeps the credential with which a supervisor is started.
pub(super) async fn insert_first(tx: &mut Transaction, sandbox_id: &str, hash: &TokenHash) -> Result<(), StoreError> {
    query("INSERT INTO supervisor_keys (hash, sandbox_id, pair, kind, state) VALUES ($1, $2, 0, 'refresh', 'current')")
        .bind(hash.as_slice())
        .bind(sandbox_id)
        .execute(&mut *tx)
        .await?;
    Ok(())
}
