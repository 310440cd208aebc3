//! Types of providers that a gateway has beside those that it brings along.

use openshell_api::provider::ProviderType;

use super::db::{query, query_scalar};
use super::{Store, StoreError, json, parse};
use crate::audit::Change;

impl Store {
    /// Every one, by name.
    pub async fn provider_types(&self) -> Result<Vec<ProviderType>, StoreError> {
        let texts: Vec<String> =
            query_scalar("SELECT type FROM provider_types ORDER BY name").fetch_all(&self.read).await?;
        texts.iter().map(|text| parse("provider type", text)).collect()
    }

    /// Adds one, or replaces it.
    pub async fn set_provider_type(&self, kind: &ProviderType, change: &Change) -> Result<(), StoreError> {
        let mut changing = self.changing(change).await?;
        query(
            "INSERT INTO provider_types (name, type) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET type = excluded.type",
        )
        .bind(kind.name.as_str())
        .bind(json("provider type", kind)?)
        .execute(changing.tx())
        .await?;
        changing.commit().await
    }

    /// Forgets one.
    pub async fn delete_provider_type(&self, name: &str, change: &Change) -> Result<(), StoreError> {
        let mut changing = self.changing(change).await?;
        query("DELETE FROM provider_types WHERE name = $1").bind(name).execute(changing.tx()).await?;
        changing.commit().await
    }
}
