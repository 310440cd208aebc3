//! Modules and artifacts, by digest.

use openshell_api::module::Module;

use super::db::{Row, Transaction, query, query_scalar};
use super::homes::Home;
use super::{Store, StoreError, int, json, name, parse, puts, timestamp, uint};
use crate::audit::Change;

/// What became of a module that was to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreModule {
    /// It is new.
    Stored,
    /// These bytes are known under this name and version already.
    Known,
    /// That name and version belong to other bytes, with this digest. Nothing was stored.
    Taken {
        /// Digest of the bytes stored under that name and version.
        digest: String,
    },
    /// Modules of that name are another user's. Nothing was stored.
    Foreign {
        /// Whose.
        owner: String,
    },
    /// The bytes took so long to reach the bucket that they were given up, and may be gone. Nothing was stored.
    Late,
}

/// Who stores a module.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    /// The user.
    pub user: &'a str,
    /// Who may store under any name.
    pub admin: bool,
}

impl By<'_> {
    /// The gateway, for what comes with it.
    pub const GATEWAY: By<'static> = By { user: "", admin: true };
}

const COLUMNS: &str = "digest, name, version, contract, hooks, imports, pure, schema, size, created_at";

impl Store {
    /// What would become of a module that is stored now. Stores nothing.
    pub async fn may_put(&self, module: &Module, replace: bool, by: By<'_>) -> Result<StoreModule, StoreError> {
        let mut tx = self.read.snapshot().await?;
        standing(&mut tx, module, replace, by).await
    }

    /// Stores a module under its digest, and its name and version for it; its bytes too, or where they are. Bytes that are kept already
    /// stay where they are. Refuses a version that means other bytes, unless `replace`, and a name that another user's modules have.
    pub async fn put_module(
        &self,
        module: &Module,
        home: &Home<&[u8]>,
        replace: bool,
        by: By<'_>,
        change: &Change,
    ) -> Result<StoreModule, StoreError> {
        let mut changing = self.changing(change).await?;
        let tx = changing.tx();
        match standing(tx, module, replace, by).await? {
            StoreModule::Stored => {}
            refused => return Ok(refused),
        }
        let named: i64 = query_scalar("SELECT count(*) FROM module_versions WHERE name = $1")
            .bind(module.name.as_str())
            .fetch_one(&mut *tx)
            .await?;
        let kept: i64 = query_scalar("SELECT count(*) FROM modules WHERE digest = $1")
            .bind(&module.digest)
            .fetch_one(&mut *tx)
            .await?;
        let spot = match home {
            Home::Database(_) => None,
            Home::Bucket(spot) if kept == 0 && !puts::settle(tx, spot).await? => return Ok(StoreModule::Late),
            Home::Bucket(spot) => {
                if kept > 0 {
                    // Another attempt was faster, unless this is what the module names already.
                    puts::give_up(&mut *tx, spot).await?;
                }
                Some(spot)
            }
        };
        query(
            "INSERT INTO modules (digest, name, version, contract, hooks, imports, pure, schema, size, place, object, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
             ON CONFLICT (digest) DO UPDATE SET name = excluded.name, version = excluded.version",
        )
        .bind(&module.digest)
        .bind(module.name.as_str())
        .bind(&module.version)
        .bind(&module.contract)
        .bind(json("hooks", &module.hooks)?)
        .bind(json("imports", &module.imports)?)
        .bind(module.pure_verdicts)
        .bind(json("schema", &module.settings_schema)?)
        .bind(int(module.size))
        .bind(spot.map(|spot| spot.place.as_str()))
        .bind(spot.map(|spot| spot.object.as_str()))
        .bind(module.created_at.to_string())
        .execute(&mut *tx)
        .await?;
        if let Home::Database(bytes) = home
            && kept == 0
        {
            query("INSERT INTO module_bytes (digest, bytes) VALUES ($1, $2)")
                .bind(&module.digest)
                .bind(*bytes)
                .execute(&mut *tx)
                .await?;
        }
        query(
            "INSERT INTO module_versions (name, version, digest) VALUES ($1, $2, $3)
             ON CONFLICT (name, version) DO UPDATE SET digest = excluded.digest",
        )
        .bind(module.name.as_str())
        .bind(&module.version)
        .bind(&module.digest)
        .execute(&mut *tx)
        .await?;
        if named == 0 && by.user != By::GATEWAY.user {
            query("INSERT INTO module_owners (name, owner) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET owner = excluded.owner")
                .bind(module.name.as_str())
                .bind(by.user)
                .execute(&mut *tx)
                .await?;
        }
        changing.commit().await?;
        Ok(StoreModule::Stored)
    }

    /// Every module, newest first.
    pub async fn modules(&self) -> Result<Vec<Module>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM modules ORDER BY created_at DESC, name"));
        let rows = query(sql).fetch_all(&self.read).await?;
        self.with_signers(rows.iter().map(module).collect::<Result<_, _>>()?).await
    }

    /// Modules that come after the one of this time and digest, newest first, at most so many.
    pub async fn modules_after(&self, after: Option<(&str, &str)>, limit: u32) -> Result<Vec<Module>, StoreError> {
        let (created_at, digest) = after.unwrap_or_default();
        let sql = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM modules WHERE $1 = '' OR (created_at, digest) < ($1, $2)
             ORDER BY created_at DESC, digest DESC LIMIT $3"
        ));
        let page = query(sql).bind(created_at).bind(digest).bind(i64::from(limit));
        let rows = page.fetch_all(&self.read).await?;
        self.with_signers(rows.iter().map(module).collect::<Result<_, _>>()?).await
    }

    /// How many modules there are.
    pub async fn count_modules(&self) -> Result<u64, StoreError> {
        let count: i64 = query_scalar("SELECT count(*) FROM modules").fetch_one(&self.read).await?;
        Ok(uint(count))
    }

    /// A module by digest.
    pub async fn module(&self, digest: &str) -> Result<Option<Module>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM modules WHERE digest = $1"));
        let row = query(sql).bind(digest).fetch_optional(&self.read).await?;
        let found: Vec<Module> = row.iter().map(module).collect::<Result<_, _>>()?;
        Ok(self.with_signers(found).await?.pop())
    }

    /// Digest of a module by name and version.
    pub async fn module_version(&self, name: &str, version: &str) -> Result<Option<String>, StoreError> {
        Ok(query_scalar("SELECT digest FROM module_versions WHERE name = $1 AND version = $2")
            .bind(name)
            .bind(version)
            .fetch_optional(&self.read)
            .await?)
    }

    /// Digest of the artifact that was compiled under this key.
    pub async fn artifact_digest(&self, cache_key: &str) -> Result<Option<String>, StoreError> {
        Ok(query_scalar("SELECT digest FROM artifacts WHERE cache_key = $1")
            .bind(cache_key)
            .fetch_optional(&self.read)
            .await?)
    }

    /// An artifact's bytes.
    pub async fn artifact_bytes(&self, digest: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(query_scalar("SELECT bytes FROM artifacts WHERE digest = $1")
            .bind(digest)
            .fetch_optional(&self.read)
            .await?)
    }

    /// Keeps an artifact.
    pub async fn put_artifact(&self, digest: &str, cache_key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        query(
            "INSERT INTO artifacts (digest, cache_key, bytes, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
            .bind(digest)
            .bind(cache_key)
            .bind(bytes)
            .bind(jiff::Timestamp::now().to_string())
            .execute(&self.write)
            .await?;
        Ok(())
    }
}

/// What becomes of a module that is stored in this transaction.
async fn standing(tx: &mut Transaction, module: &Module, replace: bool, by: By<'_>) -> Result<StoreModule, StoreError> {
    let named: i64 = query_scalar("SELECT count(*) FROM module_versions WHERE name = $1")
        .bind(module.name.as_str())
        .fetch_one(&mut *tx)
        .await?;
    let owner: Option<String> = query_scalar("SELECT owner FROM module_owners WHERE name = $1")
        .bind(module.name.as_str())
        .fetch_optional(&mut *tx)
        .await?;
    if named > 0 && !by.admin && owner.as_deref() != Some(by.user) {
        return Ok(StoreModule::Foreign { owner: owner.unwrap_or_else(|| "the gateway".to_owned()) });
    }
    let known: Option<String> = query_scalar("SELECT digest FROM module_versions WHERE name = $1 AND version = $2")
        .bind(module.name.as_str())
        .bind(&module.version)
        .fetch_optional(&mut *tx)
        .await?;
    Ok(match known {
        Some(digest) if digest == module.digest => StoreModule::Known,
        Some(digest) if !replace => StoreModule::Taken { digest },
        _ => StoreModule::Stored,
    })
}

fn module(row: &Row) -> Result<Module, StoreError> {
    Ok(Module {
        digest: row.try_get("digest")?,
        name: name(row.try_get("name")?)?,
        version: row.try_get("version")?,
        size: uint(row.try_get("size")?),
        contract: row.try_get("contract")?,
        hooks: parse("hooks", row.try_get("hooks")?)?,
        imports: parse("imports", row.try_get("imports")?)?,
        pure_verdicts: row.try_get("pure")?,
        settings_schema: parse("schema", row.try_get("schema")?)?,
        signed_by: Vec::new(),
        created_at: timestamp(row.try_get("created_at")?)?,
    })
}
