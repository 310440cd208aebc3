//! SQLite: one connection writes, several read (write-ahead log). `synchronous = FULL`: what a call has acknowledged survives
//! `kill -9` and power loss.

use std::path::Path;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use crate::store::StoreError;

/// Opens or makes a database, and brings its schema up to date: who writes, who reads.
pub(super) async fn open(path: &Path) -> Result<(SqlitePool, SqlitePool), StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10));
    // Where SQLite has ended a transaction by itself (a full disk), sqlx goes on counting it, and what it takes for a later
    // commit commits nothing. Such a connection is closed; pinging it first lets a rollback that is under way end.
    // Before each use it need not be asked whether it is there: a file does not hang up, and a question is a way to its thread and back.
    let pool = || SqlitePoolOptions::new().test_before_acquire(false);
    let write = pool().max_connections(1).after_release(|connection, _| {
        Box::pin(async move {
            connection.ping().await?;
            Ok(!connection.is_in_transaction())
        })
    });
    let write = write.connect_with(options.clone()).await?;
    super::migrations::sqlite().run(&write).await?;
    let read = pool().max_connections(8).connect_with(options.read_only(true)).await?;
    Ok((write, read))
}
