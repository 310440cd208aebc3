//! Statements and their arguments.

use std::borrow::Cow;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Postgres, SqlSafeStr, SqlStr, Sqlite};

use super::row::{Column, Row};
use super::{Pool, Transaction};

/// Longest wait for PostgreSQL's answer to a statement; SQLite is in this process. A server that is silent for so long is not
/// there, and the connection to it is given up.
const ANSWER: Duration = Duration::from_secs(20);

/// An argument of a statement; typed where it is absent, too, for PostgreSQL asks.
pub(in crate::store) enum Value<'q> {
    Int(Option<i64>),
    Text(Option<Cow<'q, str>>),
    Bytes(Option<Cow<'q, [u8]>>),
}

macro_rules! values {
    ($($from:ty, $value:ident => $to:expr;)*) => {
        $(impl<'q> From<$from> for Value<'q> {
            fn from($value: $from) -> Self {
                $to
            }
        })*
    };
}

values! {
    i64, value => Self::Int(Some(value));
    Option<i64>, value => Self::Int(value);
    Option<i32>, value => Self::Int(value.map(i64::from));
    bool, value => Self::Int(Some(value.into()));
    &'q str, value => Self::Text(Some(value.into()));
    &'q String, value => Self::Text(Some(value.into()));
    String, value => Self::Text(Some(value.into()));
    Option<&'q str>, value => Self::Text(value.map(Cow::from));
    Option<String>, value => Self::Text(value.map(Cow::from));
    &'q [u8], value => Self::Bytes(Some(value.into()));
    &'q Vec<u8>, value => Self::Bytes(Some(value.into()));
    Option<&'q [u8]>, value => Self::Bytes(value.map(Cow::from));
}

/// What a statement runs on.
pub(in crate::store) enum On<'a> {
    Pool(&'a Pool),
    Transaction(&'a mut Transaction),
}

/// What a statement did.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Done {
    rows: u64,
}

impl Done {
    /// Rows that it inserted, changed or deleted.
    pub(in crate::store) fn rows_affected(self) -> u64 {
        self.rows
    }
}

/// A statement with its arguments.
pub(in crate::store) struct Query<'q> {
    sql: Sql,
    arguments: Vec<Value<'q>>,
    persistent: bool,
}

/// A statement's text.
enum Sql {
    /// Its arguments are `$1`, `$2` and so on.
    Numbered(SqlStr),
    /// Its arguments are `?`, in order. SQLite looks a numbered one up among all before it, when it reads the text and when it is
    /// bound: with hundreds of them that took a seventh of what storing them did.
    Ordered(String),
}

impl Sql {
    fn for_sqlite(self) -> SqlStr {
        match self {
            Self::Numbered(sql) => sql,
            Self::Ordered(sql) => AssertSqlSafe(sql).into_sql_str(),
        }
    }

    /// PostgreSQL knows numbers only.
    fn for_postgres(self) -> SqlStr {
        match self {
            Self::Numbered(sql) => sql,
            Self::Ordered(sql) => {
                let mut numbered = String::with_capacity(sql.len() * 2);
                for (number, part) in sql.split('?').enumerate() {
                    if number > 0 {
                        numbered.push('$');
                        numbered.push_str(&number.to_string());
                    }
                    numbered.push_str(part);
                }
                AssertSqlSafe(numbered).into_sql_str()
            }
        }
    }
}

/// A statement whose arguments are `$1`, `$2` and so on.
pub(in crate::store) fn query<'q>(sql: impl SqlSafeStr) -> Query<'q> {
    Query { sql: Sql::Numbered(sql.into_sql_str()), arguments: Vec::new(), persistent: true }
}

/// A statement that answers one column.
pub(in crate::store) fn query_scalar<'q, T: for<'r> Column<'r>>(sql: impl SqlSafeStr) -> Scalar<'q, T> {
    Scalar { query: query(sql), column: PhantomData }
}

/// Runs a query where it is to run. A PostgreSQL that is silent for too long is given up, and the connection with it. (No function: there
/// is no way yet to say that what it is given answers a future that is `Send`.)
macro_rules! run {
    ($query:ident, $on:expr, $sqlite:ident, $postgres:ident) => {
        match $on {
            On::Pool(Pool::Sqlite(pool)) => $query.$sqlite(&mut *pool.acquire().await?).await,
            On::Transaction(Transaction::Sqlite(transaction)) => $query.$sqlite(transaction).await,
            On::Pool(Pool::Postgres(pool)) => {
                let mut connection = pool.acquire().await?;
                let answer = tokio::time::timeout(ANSWER, $query.$postgres(&mut connection)).await;
                answer.unwrap_or_else(|_| {
                    drop(connection.detach());
                    Err(silent())
                })
            }
            On::Transaction(Transaction::Postgres(open)) => {
                let answer = tokio::time::timeout(ANSWER, $query.$postgres(open.connection()?)).await;
                answer.unwrap_or_else(|_| {
                    open.give_up();
                    Err(silent())
                })
            }
        }
    };
}

impl<'q> Query<'q> {
    /// Its next argument.
    #[must_use]
    pub(in crate::store) fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.arguments.push(value.into());
        self
    }

    /// Whether it will be asked again, so that it is prepared once.
    #[must_use]
    pub(in crate::store) fn persistent(self, persistent: bool) -> Self {
        Self { persistent, ..self }
    }

    /// Runs it for what it does.
    pub(in crate::store) async fn execute<'a>(self, on: impl Into<On<'a>>) -> Result<Done, sqlx::Error> {
        let on = on.into();
        // Boxed, as all that runs statements holds it.
        Box::pin(async move { run!(self, on, execute_sqlite, execute_postgres) }).await
    }

    /// Runs it for the rows it answers.
    pub(in crate::store) async fn fetch_all<'a>(self, on: impl Into<On<'a>>) -> Result<Vec<Row>, sqlx::Error> {
        let on = on.into();
        Box::pin(async move { run!(self, on, fetch_sqlite, fetch_postgres) }).await
    }

    /// The first row, if there is one.
    pub(in crate::store) async fn fetch_optional<'a>(self, on: impl Into<On<'a>>) -> Result<Option<Row>, sqlx::Error> {
        Ok(self.fetch_all(on).await?.into_iter().next())
    }

    /// The first row.
    pub(in crate::store) async fn fetch_one<'a>(self, on: impl Into<On<'a>>) -> Result<Row, sqlx::Error> {
        self.fetch_optional(on).await?.ok_or(sqlx::Error::RowNotFound)
    }

    async fn execute_sqlite(self, connection: &mut SqliteConnection) -> Result<Done, sqlx::Error> {
        let done = self.sqlite().execute(connection).await?;
        Ok(Done { rows: done.rows_affected() })
    }

    async fn fetch_sqlite(self, connection: &mut SqliteConnection) -> Result<Vec<Row>, sqlx::Error> {
        Ok(self.sqlite().fetch_all(connection).await?.into_iter().map(Row::Sqlite).collect())
    }

    fn sqlite(self) -> sqlx::query::Query<'q, Sqlite, SqliteArguments> {
        let query = sqlx::query::<Sqlite>(self.sql.for_sqlite()).persistent(self.persistent);
        self.arguments.into_iter().fold(query, |query, value| match value {
            Value::Int(value) => query.bind(value),
            Value::Text(value) => query.bind(value.map(Cow::into_owned)),
            Value::Bytes(value) => query.bind(value.map(Cow::into_owned)),
        })
    }

    async fn execute_postgres(self, connection: &mut PgConnection) -> Result<Done, sqlx::Error> {
        let done = self.postgres().execute(connection).await?;
        Ok(Done { rows: done.rows_affected() })
    }

    async fn fetch_postgres(self, connection: &mut PgConnection) -> Result<Vec<Row>, sqlx::Error> {
        Ok(self.postgres().fetch_all(connection).await?.into_iter().map(Row::Postgres).collect())
    }

    fn postgres(self) -> sqlx::query::Query<'q, Postgres, PgArguments> {
        let query = sqlx::query::<Postgres>(self.sql.for_postgres()).persistent(self.persistent);
        self.arguments.into_iter().fold(query, |query, value| match value {
            Value::Int(value) => query.bind(value),
            // PostgreSQL's text holds anything but NUL. No name of ours does; a supervisor's words might.
            Value::Text(Some(text)) if text.contains('\0') => query.bind(text.replace('\0', "\u{fffd}")),
            Value::Text(value) => query.bind(value),
            Value::Bytes(value) => query.bind(value.map(Cow::into_owned)),
        })
    }
}

fn silent() -> sqlx::Error {
    let reason = format!("it did not answer within {} s", ANSWER.as_secs());
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, reason))
}

/// A statement that answers values of one type.
pub(in crate::store) struct Scalar<'q, T> {
    query: Query<'q>,
    column: PhantomData<fn() -> T>,
}

impl<'q, T: for<'r> Column<'r>> Scalar<'q, T> {
    /// Its next argument.
    #[must_use]
    pub(in crate::store) fn bind(self, value: impl Into<Value<'q>>) -> Self {
        Self { query: self.query.bind(value), ..self }
    }

    /// Every value.
    pub(in crate::store) async fn fetch_all<'a>(self, on: impl Into<On<'a>>) -> Result<Vec<T>, sqlx::Error> {
        self.query.fetch_all(on).await?.iter().map(|row| row.try_get(0)).collect()
    }

    /// The first value, if there is one.
    pub(in crate::store) async fn fetch_optional<'a>(self, on: impl Into<On<'a>>) -> Result<Option<T>, sqlx::Error> {
        self.query.fetch_optional(on).await?.map(|row| row.try_get(0)).transpose()
    }

    /// The first value.
    pub(in crate::store) async fn fetch_one<'a>(self, on: impl Into<On<'a>>) -> Result<T, sqlx::Error> {
        self.query.fetch_one(on).await?.try_get(0)
    }
}

/// A statement that is put together.
pub(in crate::store) struct Builder<'q> {
    sql: String,
    arguments: Vec<Value<'q>>,
}

impl<'q> Builder<'q> {
    /// One that begins so.
    pub(in crate::store) fn new(sql: &str) -> Self {
        Self { sql: sql.to_owned(), arguments: Vec::new() }
    }

    /// More of it, without a question mark; never anything that came from elsewhere.
    pub(in crate::store) fn push(&mut self, sql: impl AsRef<str>) -> &mut Self {
        self.sql.push_str(sql.as_ref());
        self
    }

    /// An argument.
    pub(in crate::store) fn push_bind(&mut self, value: impl Into<Value<'q>>) -> &mut Self {
        self.arguments.push(value.into());
        self.sql.push('?');
        self
    }

    /// `VALUES`, with as many rows as there are.
    pub(in crate::store) fn push_values<const N: usize>(
        &mut self,
        rows: impl IntoIterator<Item = [Value<'q>; N]>,
    ) -> &mut Self {
        self.push("VALUES ");
        for (number, row) in rows.into_iter().enumerate() {
            self.push(if number == 0 { "(" } else { ", (" });
            for (number, value) in row.into_iter().enumerate() {
                self.push(if number == 0 { "" } else { ", " }).push_bind(value);
            }
            self.push(")");
        }
        self
    }

    /// The whole.
    pub(in crate::store) fn build(self) -> Query<'q> {
        Query { sql: Sql::Ordered(self.sql), arguments: self.arguments, persistent: true }
    }
}
