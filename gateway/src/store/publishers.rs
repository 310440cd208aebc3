//! Whose modules are taken, and who vouches for those that are there.

use openshell_api::module::Module;
use openshell_api::signature::{ModuleSignature, Publisher, PublisherKey};

use super::db::{Row, query, query_scalar};
use super::{Store, StoreError, is_unique_violation, json, name, timestamp};
use crate::audit::Change;

impl Store {
    /// Trusted publishers, by name.
    pub async fn publishers(&self) -> Result<Vec<Publisher>, StoreError> {
        let rows = query("SELECT * FROM publishers ORDER BY name").fetch_all(&self.read).await?;
        rows.iter().map(publisher).collect()
    }

    /// Trusts a publisher. Refuses a name or a key that is trusted already.
    pub async fn insert_publisher(&self, publisher: &Publisher, change: &Change) -> Result<(), StoreError> {
        let mut changing = self.changing(change).await?;
        query("INSERT INTO publishers (name, key, added_at) VALUES ($1, $2, $3)")
            .bind(publisher.name.as_str())
            .bind(publisher.key.to_string())
            .bind(publisher.added_at.to_string())
            .execute(changing.tx())
            .await
            .map_err(|error| {
                if is_unique_violation(&error) {
                    StoreError::Exists { what: "publisher", name: publisher.name.to_string() }
                } else {
                    error.into()
                }
            })?;
        changing.commit().await
    }

    /// Trusts a publisher no longer; `false`: nobody of that name was.
    pub async fn delete_publisher(&self, name: &str, change: &Change) -> Result<bool, StoreError> {
        let mut changing = self.changing(change).await?;
        let done = query("DELETE FROM publishers WHERE name = $1").bind(name).execute(changing.tx()).await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        changing.commit().await.map(|()| true)
    }

    /// Keeps a verified signature of a stored module.
    pub async fn put_signature(&self, signature: &ModuleSignature) -> Result<(), StoreError> {
        query(
            "INSERT INTO module_signatures (digest, name, version, key, signature) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (digest, name, version, key) DO UPDATE SET signature = excluded.signature",
        )
        .bind(&signature.digest)
        .bind(&signature.name)
        .bind(&signature.version)
        .bind(signature.key.to_string())
        .bind(json("signature", signature)?)
        .execute(&self.write)
        .await?;
        Ok(())
    }

    /// Keys that vouch for these bytes under this name and version.
    pub async fn signers(&self, digest: &str, name: &str, version: &str) -> Result<Vec<PublisherKey>, StoreError> {
        let keys: Vec<String> = query_scalar(
            "SELECT key FROM module_signatures WHERE digest = $1 AND name = $2 AND version = $3 ORDER BY key",
        )
        .bind(digest)
        .bind(name)
        .bind(version)
        .fetch_all(&self.read)
        .await?;
        keys.iter().map(|key| parsed(key)).collect()
    }

    /// Fills in who vouches for modules.
    pub(super) async fn with_signers(&self, mut modules: Vec<Module>) -> Result<Vec<Module>, StoreError> {
        for module in &mut modules {
            module.signed_by = self.signers(&module.digest, module.name.as_str(), &module.version).await?;
        }
        Ok(modules)
    }
}

fn publisher(row: &Row) -> Result<Publisher, StoreError> {
    Ok(Publisher {
        name: name(row.try_get("name")?)?,
        key: parsed(row.try_get("key")?)?,
        added_at: timestamp(row.try_get("added_at")?)?,
    })
}

fn parsed(key: &str) -> Result<PublisherKey, StoreError> {
    key.parse().map_err(|_| StoreError::Unknown { what: "publisher's key", value: key.to_owned() })
}
