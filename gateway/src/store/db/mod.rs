//! The two databases behind one set of statements.
//!
//! Every statement of the store is written once, with `$1` for its arguments, in the SQL that SQLite and PostgreSQL have in common:
//! integers of 64 bits, text and bytes, `ON CONFLICT`, no booleans. Where they differ, the schemas make up for it
//! (`migrations/postgres` defines the two functions of SQLite's that are used). [`Query`] runs a statement, [`Row`] reads what it
//! answers; neither is `sqlx::Any`, which copies every value and numbers no placeholders.
//!
//! **One writer, or its turn.** SQLite has one writing connection, so what a transaction has read stays true until it commits.
//! PostgreSQL has many, in this process and in others, so a transaction that counts on that takes its [`Turn`]: an advisory lock
//! that ends with the transaction. It is the first statement of a `READ COMMITTED` transaction, so all others see what the one before
//! committed. `SERIALIZABLE` would do as well, but every writer would have to be written to be repeated, and rows of the audit trail
//! would most likely conflict; and only turns make numbers appear in the order in which they are given out, without which whoever
//! reads "all after 17" would miss what commits late. A transaction takes one turn, so none waits for another in a circle.

mod claim;
mod migrations;
mod postgres;
mod query;
mod row;
mod sqlite;

use sqlx::{PgPool, Sqlite, SqlitePool};

pub use claim::{Bell, Claim, Claimed};
pub(super) use postgres::is_unavailable;
pub(super) use query::{Builder, On, Query, query, query_scalar};
pub(super) use row::Row;

/// Connections to one database.
#[derive(Clone)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// What a writing transaction must have for itself, among all gateways of one database.
#[derive(Debug, Clone, Copy)]
pub(super) enum Turn<'a> {
    /// The end of the audit trail, and with it all that users change.
    Trail,
    /// The numbers of decisions.
    Decisions,
    /// The numbers of log lines.
    Logs,
    /// What belongs to a sandbox.
    Sandbox(&'a str),
    /// Which sandboxes enforce what.
    Enforcing,
    /// What a user's sandboxes spend together.
    Budgets(&'a str),
    /// What gateways share.
    Keyring,
}

/// A writing transaction. Dropped, nothing of it happened.
pub(super) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(postgres::Open),
}

impl Pool {
    /// Begins to write.
    pub(super) async fn begin(&self, turn: Turn<'_>) -> Result<Transaction, sqlx::Error> {
        match self {
            Self::Sqlite(pool) => Ok(Transaction::Sqlite(Box::pin(pool.begin()).await?)),
            Self::Postgres(pool) => Ok(Transaction::Postgres(postgres::Open::begin(pool, turn).await?)),
        }
    }

    /// Begins to read what is there now, whatever is written meanwhile.
    pub(super) async fn snapshot(&self) -> Result<Transaction, sqlx::Error> {
        match self {
            Self::Sqlite(pool) => Ok(Transaction::Sqlite(Box::pin(pool.begin()).await?)),
            Self::Postgres(pool) => Ok(Transaction::Postgres(postgres::Open::snapshot(pool).await?)),
        }
    }

    /// Waits for running statements, then closes.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Transaction {
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await,
            Self::Postgres(open) => open.commit().await,
        }
    }
}

impl<'a> From<&'a Pool> for On<'a> {
    fn from(pool: &'a Pool) -> Self {
        On::Pool(pool)
    }
}

impl<'a> From<&'a mut Transaction> for On<'a> {
    fn from(transaction: &'a mut Transaction) -> Self {
        On::Transaction(transaction)
    }
}

/// Opens a file, with one connection that writes and some that read; makes it and brings its schema up to date.
pub(super) async fn open_sqlite(path: &std::path::Path) -> Result<(Pool, Pool), super::StoreError> {
    let (write, read) = sqlite::open(path).await?;
    Ok((Pool::Sqlite(write), Pool::Sqlite(read)))
}

/// Connects to PostgreSQL and brings the schema up to date. Refuses a server that does not answer. Beside the connections for
/// statements there are those for [`Claim`]s.
pub(super) async fn open_postgres(url: &super::DatabaseUrl) -> Result<(Pool, PgPool), super::StoreError> {
    let (pool, claims) = postgres::open(url).await?;
    Ok((Pool::Postgres(pool), claims))
}
