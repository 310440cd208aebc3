//! What a gateway keeps, in SQLite. All SQL lives under this module.
//!
//! One connection writes, several read (write-ahead log). `synchronous = FULL`: what a call has acknowledged survives
//! `kill -9` and power loss. Several rows that belong together change in one transaction.

mod audit;
mod budgets;
mod commit;
mod inference;
mod modules;
mod proposals;
mod publishers;
mod records;
mod rollouts;
mod sandboxes;
mod sessions;
mod supervisor_keys;
mod usage;
mod users;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

pub use audit::AuditQuery;
pub use budgets::{Deal, PICO, Use};
pub use commit::{Effect, NewGeneration};
pub use inference::{ProviderSecret, StoredProvider};
pub use modules::{By, StoreModule};
pub use proposals::{ProposalQuery, ProposalRow, Refused};
pub use records::{DecisionQuery, DecisionText, Numbered};
pub use sandboxes::{NewSandbox, SandboxRow};
pub use supervisor_keys::{KeyKind, KeyState, SupervisorKey};
pub use usage::{UsageBy, UsageQuery};
pub use users::KnownToken;

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or failed.
    #[error("the gateway's database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// Its schema can't be brought up to date: changed by hand, or written by a newer gateway.
    #[error("the gateway's database has a schema this version can't use: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
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

/// The gateway's database.
#[derive(Clone)]
pub struct Store {
    write: SqlitePool,
    read: SqlitePool,
    trail: Arc<audit::Trail>,
}

impl Store {
    /// Opens or creates the database and brings its schema up to date. Refuses one written by a newer gateway. The audit trail's
    /// head is signed with `signing` and kept beside the database.
    pub async fn open(path: &Path, signing: SigningKey) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        // Where SQLite has ended a transaction by itself (a full disk), sqlx goes on counting it, and what it takes for a later
        // commit commits nothing. Such a connection is closed; pinging it first lets a rollback that is under way end.
        let write = SqlitePoolOptions::new().max_connections(1).after_release(|connection, _| {
            Box::pin(async move {
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        });
        let write = write.connect_with(options.clone()).await?;
        sqlx::migrate!("./migrations").run(&write).await?;
        let read = SqlitePoolOptions::new().max_connections(8).connect_with(options.read_only(true)).await?;
        let trail = Arc::new(audit::Trail::new(signing, path.with_file_name("audit.head")));
        let store = Self { write, read, trail };
        store.take_up_trail().await?;
        Ok(store)
    }

    /// Answers whether the database can be read.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.read).await?;
        Ok(())
    }

    /// Waits for running statements, then closes.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
        self.close_trail();
    }

    /// A setting, by key.
    pub async fn setting<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let text: Option<String> =
            sqlx::query_scalar("SELECT value FROM settings WHERE key = ?").bind(key).fetch_optional(&self.read).await?;
        text.map(|text| parse("setting", &text)).transpose()
    }
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
