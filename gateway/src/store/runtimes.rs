//! Engines of other machines that a gateway was given, and sandboxes that move between them.

use std::collections::BTreeMap;

use openshell_api::Name;
use openshell_api::sandbox::RuntimeKind;
use serde::{Deserialize, Serialize};

use super::db::{Row, query};
use super::{Store, StoreError, is_unique_violation, json, parse};
use crate::audit::Change;
use crate::identity::tokens::TokenHash;

/// An engine as it was added, but for what is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRuntime {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub kind: RuntimeKind,
    /// Where it is.
    pub url: String,
    /// Where its containers reach the gateway.
    pub gateway_url: String,
    /// What sandboxes can be placed by.
    pub labels: BTreeMap<String, String>,
    /// PEM of the authority that is trusted there; absent: no TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// PEM of the gateway's certificate there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Where the images of a Swarm are put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// As whom its engines log in there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<StoredLogin>,
}

/// Who logs in at a registry, but for the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredLogin {
    /// The user.
    pub user: String,
    /// Since when the password is what it is: other gateways of the database learn by it that it was replaced.
    pub since: jiff::Timestamp,
}

impl Store {
    /// Every one, by name, with what of it is encrypted.
    pub async fn runtimes(&self) -> Result<Vec<(StoredRuntime, Option<Vec<u8>>)>, StoreError> {
        let rows = query("SELECT runtime, key FROM runtimes ORDER BY name").fetch_all(&self.read).await?;
        rows.iter().map(runtime).collect()
    }

    /// Keeps a new one. Refuses a name that is taken.
    pub async fn insert_runtime(
        &self,
        runtime: &StoredRuntime,
        key: Option<&[u8]>,
        change: &Change,
    ) -> Result<(), StoreError> {
        let mut changing = self.changing(change).await?;
        query("INSERT INTO runtimes (name, runtime, key) VALUES ($1, $2, $3)")
            .bind(runtime.name.as_str())
            .bind(json("runtime", runtime)?)
            .bind(key)
            .execute(changing.tx())
            .await
            .map_err(|error| match is_unique_violation(&error) {
                true => StoreError::Exists { what: "runtime", name: runtime.name.to_string() },
                false => error.into(),
            })?;
        changing.commit().await
    }

    /// Changes one, and its key if there is a new one.
    pub async fn set_runtime(
        &self,
        runtime: &StoredRuntime,
        key: Option<&[u8]>,
        change: &Change,
    ) -> Result<(), StoreError> {
        let mut changing = self.changing(change).await?;
        query("UPDATE runtimes SET runtime = $1, key = COALESCE($2, key) WHERE name = $3")
            .bind(json("runtime", runtime)?)
            .bind(key)
            .bind(runtime.name.as_str())
            .execute(changing.tx())
            .await?;
        changing.commit().await
    }

    /// Forgets one.
    pub async fn delete_runtime(&self, name: &Name, change: &Change) -> Result<(), StoreError> {
        let mut changing = self.changing(change).await?;
        query("DELETE FROM runtimes WHERE name = $1").bind(name.as_str()).execute(changing.tx()).await?;
        changing.commit().await
    }

    /// Moves a sandbox to another runtime, stopped: nothing opens its link any more but a first credential, with which its supervisor
    /// is started there, and it enforces nothing yet. What was logged stays; the supervisor there counts its lines anew.
    pub async fn move_sandbox(
        &self,
        id: &str,
        runtime: &Name,
        hash: &TokenHash,
        change: &Change,
    ) -> Result<(), StoreError> {
        let mut changing = self.changing(change).await?;
        let tx = changing.tx();
        query(
            "UPDATE sandboxes SET runtime = $1, phase = 'stopped', exit_code = NULL, failure = NULL, generation = 0
             WHERE id = $2 AND phase <> 'deleting'",
        )
        .bind(runtime.as_str())
        .bind(id)
        .execute(&mut *tx)
        .await?;
        query("DELETE FROM supervisor_keys WHERE sandbox_id = $1").bind(id).execute(&mut *tx).await?;
        super::supervisor_keys::insert_first(tx, id, hash).await?;
        query("UPDATE logs SET source_seq = -seq WHERE sandbox_id = $1").bind(id).execute(&mut *tx).await?;
        changing.commit().await
    }
}

fn runtime(row: &Row) -> Result<(StoredRuntime, Option<Vec<u8>>), StoreError> {
    Ok((parse("runtime", row.try_get("runtime")?)?, row.try_get("key")?))
}
