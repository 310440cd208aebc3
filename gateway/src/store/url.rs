//! Where a PostgreSQL database is.

use std::fmt;
use std::str::FromStr;

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use url::Url;

/// The URL of a PostgreSQL database. It holds a password, so it shows itself without.
#[derive(Clone)]
pub struct DatabaseUrl {
    options: PgConnectOptions,
    shown: String,
    /// Whether it says how it is to be reached.
    says_how: bool,
}

/// What was given is no such URL. What it was is not repeated: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDatabaseUrl {
    /// It does not parse.
    #[error(
        "that is no URL of a database ({0}): write postgres://user:password@host:port/database, with %40 for @ in a password"
    )]
    Malformed(String),
    /// It is of something else.
    #[error("there is no database for {0:?} URLs: write postgres://user:password@host:port/database")]
    Scheme(String),
    /// It does not say which database.
    #[error("the URL names no database: write postgres://user:password@host:port/database")]
    NoDatabase,
}

impl DatabaseUrl {
    /// Where it is, without user and password.
    pub fn shown(&self) -> String {
        self.shown.clone()
    }

    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    pub(super) fn says_how(&self) -> bool {
        self.says_how
    }
}

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url: Url =
            text.trim().parse().map_err(|error: url::ParseError| InvalidDatabaseUrl::Malformed(error.to_string()))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(InvalidDatabaseUrl::Scheme(url.scheme().to_owned()));
        }
        let database = url.path().trim_start_matches('/');
        let host = url.query_pairs().find(|(key, _)| key == "host").map(|(_, host)| host.into_owned());
        if database.is_empty() {
            return Err(InvalidDatabaseUrl::NoDatabase);
        }
        let host = host.unwrap_or_else(|| url.host_str().unwrap_or_default().to_owned());
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let shown = format!("{database} at {host}{port}");
        let says_how = url.query_pairs().any(|(key, _)| matches!(&*key, "sslmode" | "ssl-mode"));
        let options =
            PgConnectOptions::from_url(&url).map_err(|error| InvalidDatabaseUrl::Malformed(error.to_string()))?;
        Ok(Self { options, shown, says_how })
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({})", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_no_password() {
        let check = |given: &str, expected: &str| {
            let shown = match given.parse::<DatabaseUrl>() {
                Ok(url) => url.shown(),
                Err(error) => format!("error: {error}"),
            };
            assert!(shown.starts_with(expected), "{given}: {shown}");
            assert!(!shown.contains("hidden"), "{shown}");
        };
        check("postgres://me:hidden@db.test/openshell", "openshell at db.test");
        check("postgresql://me:hidden@db.test:5433/openshell?sslmode=require", "openshell at db.test:5433");
        check("postgres:///openshell?host=/run/postgresql&user=me", "openshell at /run/postgresql");
        check("postgres://me:hidden@db.test", "error: the URL names no database");
        check("mysql://me:hidden@db.test/openshell", "error: there is no database for \"mysql\" URLs");
        check("me:hidden@db.test/openshell", "error: ");
        check("postgres://me:hid#den@db.test/x", "error: that is no URL");
        check("postgres://me:hidden@db.test/x?sslmode=nonsense", "error: that is no URL");
    }
}
