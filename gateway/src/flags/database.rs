//! Flags that say where the database is.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use openshell_gateway::DatabaseUrl;

/// Where the database is.
#[derive(Args)]
pub struct Database {
    /// PostgreSQL database, as postgres://USER:PASSWORD@HOST/DATABASE [default: a SQLite file in the state directory]. Other
    /// users of this machine see it in its list of processes: a password belongs in the variable, in the file, or in ~/.pgpass.
    #[arg(long, value_name = "URL", env = "OPENSHELL_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// File whose first line is that URL.
    #[arg(long, value_name = "FILE", env = "OPENSHELL_DATABASE_FILE", conflicts_with = "database")]
    database_file: Option<PathBuf>,
}

impl Database {
    /// Where it is; `None`: in the state directory.
    pub fn url(self) -> anyhow::Result<Option<DatabaseUrl>> {
        let text = match (self.database, self.database_file) {
            (Some(url), _) => url,
            (None, Some(path)) => {
                let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
                text.lines().next().unwrap_or_default().to_owned()
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(text.parse()?))
    }
}
