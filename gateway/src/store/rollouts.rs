//! Policies on their way from a few sandboxes to all.

use openshell_api::rollout::{Rollout, RolloutState};

use super::db::{Transaction, query, query_scalar};
use super::{Store, StoreError, json, parse};

/// Rollouts that are kept, the running ones apart.
const KEPT: i64 = 200;

impl Store {
    /// Every rollout, newest first.
    pub async fn rollouts(&self) -> Result<Vec<Rollout>, StoreError> {
        let texts: Vec<String> =
            query_scalar("SELECT rollout FROM rollouts ORDER BY id DESC").fetch_all(&self.read).await?;
        texts.iter().map(|text| parse("rollout", text)).collect()
    }

    /// Those whose canaries are watched.
    pub async fn running_rollouts(&self) -> Result<Vec<Rollout>, StoreError> {
        let texts: Vec<String> = query_scalar("SELECT rollout FROM rollouts WHERE state = 'running' ORDER BY id")
            .fetch_all(&self.read)
            .await?;
        texts.iter().map(|text| parse("rollout", text)).collect()
    }

    /// A rollout by id.
    pub async fn rollout(&self, id: &str) -> Result<Option<Rollout>, StoreError> {
        let text: Option<String> =
            query_scalar("SELECT rollout FROM rollouts WHERE id = $1").bind(id).fetch_optional(&self.read).await?;
        text.map(|text| parse("rollout", &text)).transpose()
    }
}

/// Keeps a rollout as it is now.
pub(super) async fn put(tx: &mut Transaction, rollout: &Rollout) -> Result<(), StoreError> {
    let state = match rollout.state {
        RolloutState::Running => "running",
        RolloutState::Promoted => "promoted",
        RolloutState::RolledBack => "rolled_back",
    };
    query(
        "INSERT INTO rollouts (id, state, rollout) VALUES ($1, $2, $3)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, rollout = excluded.rollout",
    )
    .bind(&rollout.id)
    .bind(state)
    .bind(json("rollout", rollout)?)
    .execute(&mut *tx)
    .await?;
    query(
        "DELETE FROM rollouts WHERE state <> 'running' AND id NOT IN (SELECT id FROM rollouts ORDER BY id DESC LIMIT $1)",
    )
    .bind(KEPT)
    .execute(&mut *tx)
    .await?;
    Ok(())
}
