//! Copies of a database: taken of one that is in use, and put in the place of another.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::db::Pool;
use super::{Store, StoreError, uint};

async fn look_into(path: &Path) -> Result<SqliteConnection, StoreError> {
    Ok(SqliteConnectOptions::new().filename(path).read_only(true).connect().await?)
}

/// Copies a database into a file that is not there yet, as it is at one moment. Whoever uses it goes on.
pub async fn snapshot(path: &Path, copy: &Path) -> Result<(), StoreError> {
    let mut connection = look_into(path).await?;
    sqlx::query("VACUUM INTO $1").bind(copy.to_string_lossy().as_ref()).execute(&mut connection).await?;
    connection.close().await?;
    // What is on its way into a bucket may come to be named by the database that goes on: a copy removes none of it.
    let mut connection = SqliteConnectOptions::new().filename(copy).connect().await?;
    if has_puts(&mut connection, "main").await? {
        sqlx::query("DELETE FROM module_puts").execute(&mut connection).await?;
    }
    Ok(connection.close().await?)
}

/// Whether a database, by its name in this connection, is of a version that writes down what it puts into a bucket.
async fn has_puts(connection: &mut SqliteConnection, database: &str) -> Result<bool, StoreError> {
    let known = format!("SELECT count(*) FROM {database}.sqlite_master WHERE name = 'module_puts'");
    Ok(sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(known)).fetch_one(connection).await? > 0)
}

/// What is wrong with a database's structure; `None`: nothing.
pub async fn integrity(path: &Path) -> Result<Option<String>, StoreError> {
    let mut connection = look_into(path).await?;
    let found = sqlx::query_scalar::<_, String>("PRAGMA integrity_check(1)").fetch_one(&mut connection).await;
    connection.close().await?;
    Ok(match found {
        Ok(found) if found == "ok" => None,
        Ok(found) => Some(found),
        Err(error) => Some(error.to_string()),
    })
}

/// Where modules of a database are kept outside of it, and how many.
pub async fn module_places(path: &Path) -> Result<Vec<(String, u64)>, StoreError> {
    let mut connection = look_into(path).await?;
    let known = "SELECT count(*) FROM pragma_table_info('modules') WHERE name = 'place'";
    // Of a version that kept all of them in it.
    if sqlx::query_scalar::<_, i64>(known).fetch_one(&mut connection).await? == 0 {
        connection.close().await?;
        return Ok(Vec::new());
    }
    let places = "SELECT place, count(*) FROM modules WHERE place IS NOT NULL GROUP BY place ORDER BY place";
    let found: Vec<(String, i64)> = sqlx::query_as(places).fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(found.into_iter().map(|(place, modules)| (place, uint(modules))).collect())
}

impl Store {
    /// Takes over from another state of this gateway, which it takes the place of: the credentials of supervisors, of sandboxes that both have,
    /// which have run on and know what they were given last; and what that one had put into a bucket in vain. Answers the names of sandboxes that
    /// only the other state has.
    pub(crate) async fn go_on_from(&self, other: &Path) -> Result<Vec<String>, StoreError> {
        // Files alone are put in each other's place.
        let Pool::Sqlite(pool) = &self.write else { return Ok(Vec::new()) };
        let mut connection = pool.acquire().await?;
        let path = other.to_string_lossy();
        sqlx::query("ATTACH DATABASE $1 AS former").bind(path.as_ref()).execute(&mut *connection).await?;
        let moved = async {
            let puts = has_puts(&mut connection, "former").await?;
            let mut tx = connection.begin().await?;
            if puts {
                sqlx::query(
                    "INSERT INTO module_puts (place, object, gateway, begun_ms, given_up, removed_ms)
                     SELECT place, object, gateway, begun_ms, 1, removed_ms FROM former.module_puts AS put
                     WHERE NOT EXISTS (SELECT 1 FROM modules WHERE place = put.place AND object = put.object)
                     ON CONFLICT DO NOTHING",
                )
                .execute(&mut *tx)
                .await?;
            }
            sqlx::query(
                "DELETE FROM supervisor_keys WHERE sandbox_id IN
                 (SELECT sandbox_id FROM former.supervisor_keys JOIN former.sandboxes ON id = sandbox_id
                  WHERE phase <> 'deleting')",
            )
            .execute(&mut *tx)
            .await?;
            sqlx::query(
                "INSERT INTO supervisor_keys (hash, sandbox_id, pair, kind, state, expires_ms)
                 SELECT hash, sandbox_id, pair, kind, state, expires_ms FROM former.supervisor_keys
                 WHERE sandbox_id IN (SELECT id FROM former.sandboxes WHERE phase <> 'deleting')
                 AND sandbox_id IN (SELECT id FROM sandboxes)",
            )
            .execute(&mut *tx)
            .await?;
            let unknown = sqlx::query_scalar(
                "SELECT name FROM former.sandboxes WHERE phase <> 'deleting' AND id NOT IN (SELECT id FROM sandboxes)
                 ORDER BY id",
            )
            .fetch_all(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok::<_, StoreError>(unknown)
        };
        let moved = moved.await;
        sqlx::query("DETACH DATABASE former").execute(&mut *connection).await?;
        moved
    }
}
