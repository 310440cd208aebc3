//! PostgreSQL: where it is, how it is reached, and transactions that give up on a server that went away.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions, PgSslMode};
use sqlx::{Connection as _, PgPool, Postgres};

use super::Turn;
use crate::store::{DatabaseUrl, StoreError};

/// Connections of one gateway.
const CONNECTIONS: u32 = 12;
/// Changes that hold locks at the same time, in one gateway; others wait for them.
const CLAIMS: u32 = 12;
const CLAIM_ACQUIRE: Duration = Duration::from_secs(60);
/// Longest wait for a connection: whoever calls meanwhile is told to come back.
const ACQUIRE: Duration = Duration::from_secs(3);
/// Longest wait for the first answer of a server, at the start.
const CONNECT: Duration = Duration::from_secs(10);
/// First of the two numbers of our advisory locks: others may use the same database.
pub(super) const LOCKS: i32 = 1_331_917_932;
/// Longest wait for the beginning and the end of a transaction.
const END: Duration = Duration::from_secs(20);

/// What every session asks of the server: nobody holds a turn without using it, and a gateway whose machine is gone is noticed.
const SESSION: [(&str, &str); 8] = [
    ("timezone", "UTC"),
    ("lock_timeout", "15s"),
    ("statement_timeout", "60s"),
    ("idle_in_transaction_session_timeout", "30s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "10s"),
];

/// A push holds its locks for as long as sandboxes take to stage it.
const CLAIM_SESSION: [(&str, &str); 2] = [("idle_in_transaction_session_timeout", "300s"), ("lock_timeout", "100s")];

/// Connects, and brings the schema up to date; gateways that start at the same time take turns.
pub(super) async fn open(url: &DatabaseUrl) -> Result<(PgPool, PgPool), StoreError> {
    let options = options(url);
    // A pool would say that it had waited, and not for what.
    let first = async { PgConnection::connect_with(&options).await?.close().await };
    match tokio::time::timeout(CONNECT, first).await {
        Ok(Ok(())) => {}
        Ok(Err(source)) => return Err(StoreError::Unreachable { database: url.shown(), source }),
        Err(_) => {
            let reason = format!("it did not answer within {} s", CONNECT.as_secs());
            let source = std::io::Error::new(std::io::ErrorKind::TimedOut, reason).into();
            return Err(StoreError::Unreachable { database: url.shown(), source });
        }
    }
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE);
    let pool = pool.connect_with(options.clone()).await?;
    super::migrations::postgres().run(&pool).await?;
    let claims = PgPoolOptions::new().max_connections(CLAIMS).acquire_timeout(CLAIM_ACQUIRE);
    let claims = claims.connect_lazy_with(options.options(CLAIM_SESSION));
    Ok((pool, claims))
}

fn options(url: &DatabaseUrl) -> PgConnectOptions {
    let options = url.options().clone().application_name("openshell-gateway").options(SESSION);
    let here =
        options.get_socket().is_some() || matches!(options.get_host(), "localhost" | "127.0.0.1" | "::1" | "[::1]");
    // sqlx would use TLS where it is offered, and say the password to whoever offers none.
    if here || url.says_how() { options } else { options.ssl_mode(PgSslMode::VerifyFull) }
}

/// Whether the server is away, rather than against it: what was asked may work in a while.
pub(in crate::store) fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // It was cut off in the middle of an answer.
        sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => {
            let code = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().map(|error| error.code());
            // Connection exceptions; too many of them; shut down, crashed, starting; a standby that may not write; out of patience.
            code.is_some_and(|code| {
                code.starts_with("08")
                    || matches!(
                        code,
                        "53300" | "57P01" | "57P02" | "57P03" | "25006" | "55P03" | "57014" | "25P03" | "40P01"
                    )
            })
        }
        _ => false,
    }
}

/// A transaction on a connection of its own.
pub(in crate::store) struct Open {
    /// Absent: given up, or ended.
    connection: Option<PoolConnection<Postgres>>,
}

impl Open {
    pub(super) async fn begin(pool: &PgPool, turn: Turn<'_>) -> Result<Self, sqlx::Error> {
        let mut open = Self::plain(pool).await?;
        let (kind, key) = match turn {
            Turn::Trail => (1, ""),
            Turn::Decisions => (2, ""),
            Turn::Logs => (3, ""),
            Turn::Sandbox(id) => (4, id),
            Turn::Enforcing => (5, ""),
            Turn::Budgets(owner) => (7, owner),
            Turn::Keyring => (6, ""),
        };
        open.run(sqlx::query("SELECT pg_advisory_xact_lock($1, hashtext($2))").bind(LOCKS + kind).bind(key), END)
            .await?;
        Ok(open)
    }

    /// Without a turn.
    pub(super) async fn plain(pool: &PgPool) -> Result<Self, sqlx::Error> {
        Self::with(pool, "BEGIN").await
    }

    pub(super) async fn snapshot(pool: &PgPool) -> Result<Self, sqlx::Error> {
        Self::with(pool, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await
    }

    async fn with(pool: &PgPool, statement: &'static str) -> Result<Self, sqlx::Error> {
        // Boxed, as in `run`: connecting takes much room, and whatever changes something would hold it.
        let mut open = Self { connection: Some(Box::pin(pool.acquire()).await?) };
        open.run(sqlx::query(statement), END).await?;
        Ok(open)
    }

    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.run(sqlx::query("COMMIT"), END).await?;
        self.connection = None;
        Ok(())
    }

    /// What a statement runs on.
    pub(super) fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.connection.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Cuts the connection off; the server takes the transaction back when it notices.
    pub(super) fn give_up(&mut self) {
        drop(self.connection.take().map(PoolConnection::detach));
    }

    /// Runs a statement; a server that is silent for longer than `within` is given up.
    pub(super) async fn run(
        &mut self,
        query: sqlx::query::Query<'_, Postgres, sqlx::postgres::PgArguments>,
        within: Duration,
    ) -> Result<(), sqlx::Error> {
        match Box::pin(tokio::time::timeout(within, query.execute(self.connection()?))).await {
            Ok(done) => done.map(drop),
            Err(_) => {
                self.give_up();
                Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "it did not answer").into())
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return drop(connection.detach()) };
        runtime.spawn(async move {
            let back = tokio::time::timeout(END, sqlx::query("ROLLBACK").execute(&mut *connection)).await;
            if !matches!(back, Ok(Ok(_))) {
                drop(connection.detach());
            }
        });
    }
}
