//! What a gateway keeps, in a SQLite file of its own or in PostgreSQL. All SQL lives under this module; `db` knows what the two
//! databases differ in.
//!
//! What a call has acknowledged survives `kill -9` and power loss. Several rows that belong together change in one transaction.

mod audit;
mod budgets;
mod commit;
mod copies;
mod db;
mod exports;
mod homes;
mod idempotency;
mod inference;
mod keyring;
mod logs;
mod modules;
mod proposals;
mod provider_types;
mod publishers;
mod puts;
mod records;
mod replicas;
mod rollouts;
mod runtimes;
mod sandboxes;
mod sessions;
mod supervisor_keys;
mod url;
mod usage;
mod users;

use std::path::Path;
use std::sync::Arc;

pub use db::{Bell, Claim, Claimed};
use db::{Pool, query, query_scalar};
use sqlx::PgPool;

use crate::secrets::{Keyring, KeyringError};
use crate::signing::Signing;

pub use audit::AuditQuery;
pub use budgets::{Deal, Use};
pub use commit::{Effect, NewGeneration};
pub(crate) use copies::{integrity, module_places, snapshot};
pub use exports::{Exporting, Progress};
pub use homes::{Home, Kept, Spot};
pub use idempotency::{CallHash, CallState};
pub use inference::{ProviderSecret, StoredProvider};
pub use keyring::{Entry, SealedKeys};
pub use logs::{KEEP_LOG_LINES, LogPart, trimmed};
pub use modules::{By, StoreModule};
pub use proposals::{ProposalQuery, ProposalRow, Refused};
pub use records::{DecisionQuery, DecisionText, Numbered};
pub use replicas::Replica;
pub use runtimes::{StoredLogin, StoredRuntime};
pub use sandboxes::{NewSandbox, SandboxRow};
pub use supervisor_keys::{KeyKind, KeyState, SupervisorKey};
pub use url::{DatabaseUrl, InvalidDatabaseUrl};
pub use usage::{UsageBy, UsageQuery};
pub use users::KnownToken;

/// The database, where the gateway has one of its own.
pub(crate) const DATABASE_FILE: &str = "gateway.db";
/// Says where the database is, where the gateway has none of its own.
pub(crate) const SERVER_FILE: &str = "database";
/// The audit trail's head, as this gateway knows it.
pub(crate) const HEAD_FILE: &str = "audit.head";

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or failed.
    #[error("the gateway's database failed: {0}")]
    Database(#[source] sqlx::Error),
    /// The database does not answer at the moment. What was asked was most likely not done.
    #[error("the gateway's database does not answer: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The database did not answer when the gateway started.
    #[error("the database {database} can't be used: {source}")]
    Unreachable {
        /// Where it should be, without the password.
        database: String,
        /// Why.
        source: sqlx::Error,
    },
    /// A newer gateway has changed its schema.
    #[error("the gateway's database was brought up to date by a newer gateway: this one does not know migration {0}")]
    Newer(i64),
    /// Its schema can't be brought up to date: changed by hand, or the database refused.
    #[error("the gateway's database has a schema this version can't use: {0}")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// The keys of now can't be had.
    #[error(transparent)]
    Keys(Box<KeyringError>),
    /// The key turned between signing and storing.
    #[error("the signing key has turned meanwhile, so nothing was changed")]
    Outdated,
    /// A stored document does not parse: the database was changed by something else.
    #[error("a stored {what} does not parse: {source}")]
    Corrupt {
        /// What it should be.
        what: &'static str,
        /// Why it isn't.
        source: serde_json::Error,
    },
    /// A stored value is outside what this version knows.
    #[error("a stored {what} is not understood: {value:?}")]
    Unknown {
        /// What it should be.
        what: &'static str,
        /// What is there.
        value: String,
    },
    /// The name is taken.
    #[error("{what} {name:?} exists already")]
    Exists {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Something still refers to it.
    #[error("{what} {name:?} is in use")]
    InUse {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if db::is_unavailable(&error) { Self::Unavailable(error) } else { Self::Database(error) }
    }
}

impl From<KeyringError> for StoreError {
    fn from(error: KeyringError) -> Self {
        match error {
            KeyringError::Store(error) => error,
            error => Self::Keys(Box::new(error)),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::VersionMissing(version) => Self::Newer(version),
            error => Self::Migration(error),
        }
    }
}

impl StoreError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => Some(
                "is it running, and is the URL right? It reads postgres://user:password@host:port/database; beyond this machine TLS is \
                 required and verified, unless the URL says otherwise (?sslmode=…, ?sslrootcert=FILE)",
            ),
            Self::Keys(error) => error.hint(),
            Self::Newer(_) => Some("run the newer version again, or restore a backup that this one made"),
            _ => None,
        }
    }

    /// Whether the database was written by a newer gateway.
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Newer(_))
    }
}

/// The gateway's database.
#[derive(Clone)]
pub struct Database {
    write: Pool,
    read: Pool,
    /// Absent: no other gateway can use it.
    claims: Option<PgPool>,
}

/// What the gateway keeps in it.
#[derive(Clone)]
pub struct Store {
    write: Pool,
    read: Pool,
    claims: Option<PgPool>,
    trail: Arc<audit::Trail>,
}

impl Database {
    /// Opens the database at `url`, else the file `gateway.db` in `directory`, and brings its schema up to date. Refuses one written by
    /// a newer gateway.
    pub async fn open(directory: &Path, url: Option<&DatabaseUrl>) -> Result<Self, StoreError> {
        match url {
            None => {
                let (write, read) = db::open_sqlite(&directory.join(DATABASE_FILE)).await?;
                Ok(Self { write, read, claims: None })
            }
            Some(url) => {
                let (pool, claims) = db::open_postgres(url).await?;
                Ok(Self { write: pool.clone(), read: pool, claims: Some(claims) })
            }
        }
    }

    /// Whether other gateways may use it.
    pub fn is_shared(&self) -> bool {
        self.claims.is_some()
    }

    /// Whether the database is this one gateway's, or of those that share its signing key: the key of now, or one before it. The first one
    /// makes it its own.
    pub async fn is_ours(&self, signing: &Signing) -> Result<bool, StoreError> {
        let key = json("key", &signing.public().to_hex())?;
        query("INSERT INTO settings (key, value) VALUES ('gateway', $1) ON CONFLICT DO NOTHING")
            .bind(&key)
            .execute(&self.write)
            .await?;
        let known: String =
            query_scalar("SELECT value FROM settings WHERE key = 'gateway'").fetch_one(&self.read).await?;
        if known == key {
            return Ok(true);
        }
        let before: String = parse("key", &known)?;
        let ours = signing.past().iter().any(|past| past.to_hex() == before);
        if ours {
            now_of(&self.write, &key).await?;
        }
        Ok(ours)
    }
}

impl Store {
    /// Takes up what is kept in a database. The audit trail's head is signed with `signing`, as far as other gateways have not turned that by the
    /// `keyring`, and kept in `directory`, too.
    pub async fn over(
        database: Database,
        directory: &Path,
        signing: Arc<Signing>,
        keyring: Option<Arc<Keyring>>,
    ) -> Result<Self, StoreError> {
        let trail = Arc::new(audit::Trail::new(signing, keyring, directory.join(HEAD_FILE)));
        let Database { write, read, claims } = database;
        let store = Self { write, read, claims, trail };
        store.take_up_trail().await?;
        // Another gateway may be about to answer.
        if !store.is_shared() {
            store.forget_unanswered().await?;
        }
        Ok(store)
    }

    /// The database, where others might use it, is from now on that of the gateway with this signing key.
    pub async fn is_now_of(&self, verifying_key: &str) -> Result<(), StoreError> {
        now_of(&self.write, &json("key", &verifying_key)?).await
    }

    /// Whether other gateways may use the same database.
    pub fn is_shared(&self) -> bool {
        self.claims.is_some()
    }

    /// Claims something among the gateways of the database; waits for whoever has it.
    pub async fn claim(&self, what: Claimed<'_>) -> Result<Claim, StoreError> {
        let mut claim = Claim::begin(self.claims()?).await?;
        claim.add(what).await?;
        Ok(claim)
    }

    /// Claims the housekeeping if nobody has it.
    pub async fn try_housekeeping(&self) -> Result<Option<Claim>, StoreError> {
        let mut claim = Claim::begin(self.claims()?).await?;
        Ok(claim.try_add().await?.then_some(claim))
    }

    /// Hears what other gateways call out.
    pub async fn listen(&self) -> Result<Bell, StoreError> {
        Ok(Bell::hang(self.claims()?).await?)
    }

    /// Calls something out to the other gateways.
    pub async fn ring(&self, said: &str) -> Result<(), StoreError> {
        match &self.write {
            Pool::Postgres(pool) => Ok(Bell::ring(pool, said).await?),
            Pool::Sqlite(_) => Ok(()),
        }
    }

    fn claims(&self) -> Result<&PgPool, StoreError> {
        self.claims.as_ref().ok_or(StoreError::Database(sqlx::Error::PoolClosed))
    }

    /// Answers whether the database can be read.
    pub async fn ping(&self) -> Result<(), StoreError> {
        query("SELECT 1").execute(&self.read).await?;
        Ok(())
    }

    /// Waits for running statements, then closes.
    pub async fn close(&self) {
        if let Some(claims) = &self.claims {
            claims.close().await;
        }
        self.read.close().await;
        self.write.close().await;
        self.close_trail();
    }

    /// A setting, by key.
    pub async fn setting<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let text: Option<String> =
            query_scalar("SELECT value FROM settings WHERE key = $1").bind(key).fetch_optional(&self.read).await?;
        text.map(|text| parse("setting", &text)).transpose()
    }
}

async fn now_of(pool: &Pool, key: &str) -> Result<(), StoreError> {
    query("UPDATE settings SET value = $1 WHERE key = 'gateway'").bind(key).execute(pool).await?;
    Ok(())
}

fn parse<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|source| StoreError::Corrupt { what, source })
}

fn json<T: serde::Serialize>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Corrupt { what, source })
}

/// SQLite's integers are signed; what can't be stored is clamped (no counter of ours gets there).
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn timestamp(text: &str) -> Result<jiff::Timestamp, StoreError> {
    text.parse().map_err(|_| StoreError::Unknown { what: "time", value: text.to_owned() })
}

/// A time in milliseconds since the Unix epoch.
fn millis(at: Option<i64>) -> Result<Option<jiff::Timestamp>, StoreError> {
    let unknown = |at: i64| StoreError::Unknown { what: "time", value: at.to_string() };
    at.map(|at| jiff::Timestamp::from_millisecond(at).map_err(|_| unknown(at))).transpose()
}

fn name(text: String) -> Result<openshell_api::Name, StoreError> {
    openshell_api::Name::parse(&text).map_err(|_| StoreError::Unknown { what: "name", value: text })
}

fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|e| e.is_unique_violation())
}
