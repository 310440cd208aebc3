//! What gateways of one database need of it beside tables: locks that last as long as a change, and a bell.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;

use super::postgres::{LOCKS, Open};

/// Longest wait for a lock: longer than the server's own.
const LOCK: Duration = Duration::from_secs(110);
/// Longest wait for a sign that a claim is still held.
const CHECK: Duration = Duration::from_secs(10);
const CHANNEL: &str = "openshell";
/// Numbers after those of turns.
const KINDS: i32 = LOCKS + 100;

/// What is claimed for as long as a change takes.
#[derive(Debug, Clone, Copy)]
pub enum Claimed<'a> {
    /// Beginning and ending rollouts.
    Rollouts,
    /// What belongs to all sandboxes: to change it, or so that it stays as it is.
    GatewayWide {
        /// To change it.
        alone: bool,
    },
    /// Sandboxes, by id.
    Sandboxes(&'a [&'a str]),
}

/// Locks among the gateways of a database: held until this is dropped, or until the gateway is gone.
pub struct Claim(Open);

impl Claim {
    pub(in crate::store) async fn begin(pool: &PgPool) -> Result<Self, sqlx::Error> {
        Open::plain(pool).await.map(Self)
    }

    /// Claims something more; waits for whoever has it.
    pub(crate) async fn add(&mut self, what: Claimed<'_>) -> Result<(), sqlx::Error> {
        match what {
            Claimed::Rollouts => self.one("SELECT pg_advisory_xact_lock($1, 0)", KINDS).await,
            Claimed::GatewayWide { alone: true } => self.one("SELECT pg_advisory_xact_lock($1, 0)", KINDS + 1).await,
            Claimed::GatewayWide { alone: false } => {
                self.one("SELECT pg_advisory_xact_lock_shared($1, 0)", KINDS + 1).await
            }
            Claimed::Sandboxes(ids) => {
                // In one order everywhere, so that no two wait for each other.
                let sql = "SELECT pg_advisory_xact_lock($1, hash) FROM (SELECT DISTINCT hashtext(id) AS hash
                     FROM unnest(string_to_array($2, ' ')) AS id ORDER BY 1) AS locks";
                self.0.run(sqlx::query(sql).bind(KINDS + 2).bind(ids.join(" ")), LOCK).await
            }
        }
    }

    /// Takes the lock of the one gateway that does what is to be done once; `false`: another one has it.
    pub(in crate::store) async fn try_add(&mut self) -> Result<bool, sqlx::Error> {
        let asked = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1, 0)").bind(KINDS + 3);
        asked.fetch_one(self.0.connection()?).await
    }

    async fn one(&mut self, sql: &'static str, number: i32) -> Result<(), sqlx::Error> {
        self.0.run(sqlx::query(sql).bind(number), LOCK).await
    }

    /// Whether its locks are held still.
    pub async fn is_held(&mut self) -> bool {
        self.0.run(sqlx::query("SELECT 1"), CHECK).await.is_ok()
    }
}

/// What other gateways call out.
pub struct Bell(PgListener);

impl Bell {
    pub(in crate::store) async fn hang(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Self(listener))
    }

    pub(in crate::store) async fn ring(pool: &PgPool, said: &str) -> Result<(), sqlx::Error> {
        sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(said).execute(pool).await.map(drop)
    }

    /// The next call; `None`: some may have been missed.
    pub async fn next(&mut self) -> Result<Option<String>, super::super::StoreError> {
        Ok(self.0.try_recv().await?.map(|heard| heard.payload().to_owned()))
    }
}
