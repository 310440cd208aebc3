//! The databases that a gateway may have.

use std::path::Path;
use std::process::Command;

use openshell_gateway::DatabaseUrl;

use super::postgres;

/// Where a test's gateway keeps everything.
#[derive(Debug, Clone)]
pub enum Database {
    /// A file in its state directory.
    Sqlite,
    /// A database at this URL.
    Postgres(String),
}

impl Database {
    /// A fresh one on the cluster of all tests.
    pub fn postgres() -> Self {
        Self::Postgres(postgres::database())
    }

    /// A database like this one, with nothing in it.
    pub fn another(&self) -> Self {
        match self {
            Self::Sqlite => Self::Sqlite,
            Self::Postgres(_) => Self::postgres(),
        }
    }

    /// What a gateway is told.
    pub fn url(&self) -> Option<DatabaseUrl> {
        match self {
            Self::Sqlite => None,
            Self::Postgres(url) => Some(url.parse().unwrap()),
        }
    }

    /// Changes it behind the gateway's back.
    pub fn tamper(&self, state: &Path, sql: &str) {
        match self {
            Self::Sqlite => drop(python(
                &state.join("gateway.db"),
                "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2]); c.commit()",
                sql,
            )),
            Self::Postgres(url) => drop(postgres::psql(url, sql)),
        }
    }

    /// What a query of one column answers, a line for each row.
    pub fn rows(&self, state: &Path, sql: &str) -> String {
        match self {
            Self::Sqlite => python(
                &state.join("gateway.db"),
                "import sqlite3,sys; print(*(row[0] for row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2])), sep='\\n')",
                sql,
            ),
            Self::Postgres(url) => postgres::psql(url, sql),
        }
    }

    /// Computes the audit trail's hashes anew, with `entry` in the place of each entry: an expression of SQL.
    pub fn rehash(&self, state: &Path, entry: &str) {
        match self {
            Self::Sqlite => drop(python(
                &state.join("gateway.db"),
                "import sqlite3,sys,hashlib
c=sqlite3.connect(sys.argv[1]); h=bytes(32)
for seq,entry in c.execute(f'SELECT seq, {sys.argv[2]} FROM audit ORDER BY seq').fetchall():
    h=hashlib.sha256(h+entry.encode()).digest()
    c.execute('UPDATE audit SET entry=?,hash=? WHERE seq=?',(entry,h,seq))
c.commit()",
                entry,
            )),
            Self::Postgres(url) => drop(postgres::psql(
                url,
                &format!(
                    "DO $$ DECLARE link record; hash_before bytea := decode(repeat('00', 32), 'hex'); BEGIN
                         FOR link IN SELECT seq, {entry} AS entry FROM audit ORDER BY seq LOOP
                             hash_before := sha256(hash_before || convert_to(link.entry, 'UTF8'));
                             UPDATE audit SET entry = link.entry, hash = hash_before WHERE seq = link.seq;
                         END LOOP;
                     END $$"
                ),
            )),
        }
    }
}

fn python(file: &Path, program: &str, argument: &str) -> String {
    let done = Command::new("python3").args(["-c", program]).arg(file).arg(argument).output().expect("python3 runs");
    assert!(done.status.success(), "{argument}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Each of these tests once with SQLite and once with PostgreSQL.
#[macro_export]
macro_rules! with_both {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($crate::world::Database::Sqlite).await;
            })*
        }
        mod postgresql {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($crate::world::Database::postgres()).await;
            })*
        }
    };
}
