//! Providers and backends.

use openshell_api::inference::{Backend, Catalogue};
use openshell_api::provider::{CredentialRule, Provider, RefreshState};

use super::db::{Row, Transaction, query, query_scalar};
use super::{Numbered, Store, StoreError, is_unique_violation, json, name, parse, timestamp};
use crate::audit::Change;

/// A provider with its secret still encrypted.
pub struct StoredProvider {
    /// As the API shows it.
    pub provider: Provider,
    /// Nonce and ciphertext.
    pub secret: Vec<u8>,
}

/// Name and encrypted secret of a provider.
pub struct ProviderSecret {
    /// Its name.
    pub name: String,
    /// Where and how it may be attached.
    pub rule: CredentialRule,
    /// How its access token stands.
    pub refresh: Option<RefreshState>,
    /// Nonce and ciphertext.
    pub secret: Vec<u8>,
}

const PROVIDERS: &str = "SELECT name, kind, rule, created_at, owner, shared, refresh FROM providers";
const SECRETS: &str = "SELECT name, rule, secret, refresh FROM providers";

impl Store {
    /// Stores a provider. Refuses a name that is taken.
    pub async fn insert_provider(&self, stored: &StoredProvider, change: &Change) -> Result<(), StoreError> {
        let mut changing = self.changing(change).await?;
        let provider = &stored.provider;
        query(
            "INSERT INTO providers (name, kind, rule, secret, created_at, owner, shared, refresh)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(provider.name.as_str())
        .bind(&provider.kind)
        .bind(json("credential rule", &provider.rule)?)
        .bind(&stored.secret)
        .bind(provider.created_at.to_string())
        .bind(&provider.owner)
        .bind(provider.shared)
        .bind(refresh_text(provider)?)
        .execute(changing.tx())
        .await
        .map_err(|error| {
            if is_unique_violation(&error) {
                StoreError::Exists { what: "provider", name: provider.name.to_string() }
            } else {
                error.into()
            }
        })?;
        changing.commit().await
    }

    /// Changes a provider, and its secret if there is a new one.
    pub async fn set_provider(
        &self,
        provider: &Provider,
        secret: Option<&[u8]>,
        change: &Change,
    ) -> Result<(), StoreError> {
        let mut changing = self.changing(change).await?;
        set_provider(changing.tx(), provider, secret).await?;
        changing.commit().await
    }

    /// Keeps secrets of providers, and keys of runtimes, that were wrapped anew: all of them, or none.
    pub async fn set_secrets(
        &self,
        secrets: &[(String, Vec<u8>)],
        keys: &[(String, Vec<u8>)],
        change: &Change,
    ) -> Result<(), StoreError> {
        let mut changing = self.changing(change).await?;
        for (sql, sealed) in [
            ("UPDATE providers SET secret = $1 WHERE name = $2", secrets),
            ("UPDATE runtimes SET key = $1 WHERE name = $2", keys),
        ] {
            for (name, secret) in sealed {
                query(sql).bind(secret).bind(name).execute(changing.tx()).await?;
            }
        }
        changing.commit().await
    }

    /// Every provider, by name.
    pub async fn providers(&self) -> Result<Vec<Provider>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("{PROVIDERS} ORDER BY name"));
        query(sql).fetch_all(&self.read).await?.iter().map(provider).collect()
    }

    /// Providers whose names follow `after`, by name, at most so many.
    pub async fn providers_after(&self, after: Option<&str>, limit: u32) -> Result<Vec<Provider>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("{PROVIDERS} WHERE name > $1 ORDER BY name LIMIT $2"));
        let page = query(sql).bind(after.unwrap_or_default()).bind(i64::from(limit));
        page.fetch_all(&self.read).await?.iter().map(provider).collect()
    }

    /// A provider by name.
    pub async fn provider(&self, name: &str) -> Result<Option<Provider>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("{PROVIDERS} WHERE name = $1"));
        query(sql).bind(name).fetch_optional(&self.read).await?.as_ref().map(provider).transpose()
    }

    /// Encrypted secrets of every provider.
    pub async fn provider_secrets(&self) -> Result<Vec<ProviderSecret>, StoreError> {
        query(SECRETS).fetch_all(&self.read).await?.iter().map(provider_secret).collect()
    }

    /// Those of providers whose access tokens are renewed.
    pub async fn refreshed_secrets(&self) -> Result<Vec<ProviderSecret>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("{SECRETS} WHERE refresh IS NOT NULL"));
        query(sql).fetch_all(&self.read).await?.iter().map(provider_secret).collect()
    }

    /// The encrypted secret of one.
    pub async fn provider_secret(&self, name: &str) -> Result<Option<ProviderSecret>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("{SECRETS} WHERE name = $1"));
        query(sql).bind(name).fetch_optional(&self.read).await?.as_ref().map(provider_secret).transpose()
    }

    /// Forgets a provider; answers whether there was one. Refuses while a backend or an export uses it.
    pub async fn delete_provider(&self, name: &str, change: &Change) -> Result<bool, StoreError> {
        let mut changing = self.changing(change).await?;
        let done = query("DELETE FROM providers WHERE name = $1").bind(name).execute(changing.tx()).await;
        match done {
            Ok(done) if done.rows_affected() == 0 => Ok(false),
            Ok(_) => changing.commit().await.map(|()| true),
            Err(error) if error.as_database_error().is_some_and(|e| e.is_foreign_key_violation()) => {
                Err(StoreError::InUse { what: "provider", name: name.to_owned() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Backends that follow the one at a position, in the operator's order, at most so many.
    pub async fn backends_after(&self, after: Option<i64>, limit: u32) -> Result<Vec<Numbered<Backend>>, StoreError> {
        let sql = "SELECT position, backend FROM backends WHERE position > $1 ORDER BY position LIMIT $2";
        let page = query(sql).bind(after.unwrap_or(0)).bind(i64::from(limit));
        let rows = page.fetch_all(&self.read).await?;
        rows.iter()
            .map(|row| Ok(Numbered { seq: row.try_get("position")?, item: parse("backend", row.try_get("backend")?)? }))
            .collect()
    }

    /// Every backend, in the operator's order.
    pub async fn catalogue(&self) -> Result<Catalogue, StoreError> {
        let rows: Vec<String> =
            query_scalar("SELECT backend FROM backends ORDER BY position").fetch_all(&self.read).await?;
        let backends = rows.iter().map(|text| parse::<Backend>("backend", text)).collect::<Result<_, _>>()?;
        Ok(Catalogue { backends })
    }
}

/// Changes a provider in a transaction.
pub(super) async fn set_provider(
    tx: &mut Transaction,
    provider: &Provider,
    secret: Option<&[u8]>,
) -> Result<(), StoreError> {
    query("UPDATE providers SET rule = $1, shared = $2, secret = COALESCE($3, secret), refresh = $4 WHERE name = $5")
        .bind(json("credential rule", &provider.rule)?)
        .bind(provider.shared)
        .bind(secret)
        .bind(refresh_text(provider)?)
        .bind(provider.name.as_str())
        .execute(&mut *tx)
        .await?;
    Ok(())
}

fn provider(row: &Row) -> Result<Provider, StoreError> {
    Ok(Provider {
        name: name(row.try_get("name")?)?,
        kind: row.try_get("kind")?,
        rule: parse("credential rule", row.try_get("rule")?)?,
        owner: row.try_get("owner")?,
        shared: row.try_get("shared")?,
        refresh: refresh(row)?,
        created_at: timestamp(row.try_get("created_at")?)?,
    })
}

fn provider_secret(row: &Row) -> Result<ProviderSecret, StoreError> {
    Ok(ProviderSecret {
        name: row.try_get("name")?,
        rule: parse("credential rule", row.try_get("rule")?)?,
        refresh: refresh(row)?,
        secret: row.try_get("secret")?,
    })
}

fn refresh(row: &Row) -> Result<Option<RefreshState>, StoreError> {
    row.try_get::<Option<&str>>("refresh")?.map(|text| parse("refresh", text)).transpose()
}

fn refresh_text(provider: &Provider) -> Result<Option<String>, StoreError> {
    provider.refresh.as_ref().map(|state| json("refresh", state)).transpose()
}
