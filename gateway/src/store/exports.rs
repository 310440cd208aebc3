//! Where decisions are sent, and how far each export has come.

use openshell_api::Name;
use openshell_api::export::{Export, ExportState};

use super::db::{Row, Transaction, query, query_scalar};
use super::{Store, StoreError, int, is_unique_violation, json, millis, parse, uint};
use crate::audit::Change;

/// What there is of an export, and of what waits for it.
const STATES: &str = "SELECT export, delivered, refused, lost, delivered_ms, problem,
    (SELECT count(*) FROM decisions WHERE seq > position) AS waiting FROM exports";

/// An export at the place that it has come to.
#[derive(Debug, Clone)]
pub struct Exporting {
    /// Where and how.
    pub export: Export,
    /// Number of the last decision that needs no sending.
    pub position: i64,
    /// Why the last attempt failed.
    pub problem: Option<String>,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// How many were acknowledged.
    pub delivered: u64,
    /// How many were refused for good.
    pub refused: u64,
}

impl Store {
    /// Every export, by name, and how it stands.
    pub async fn exports(&self) -> Result<Vec<ExportState>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("{STATES} ORDER BY name"));
        query(sql).fetch_all(&self.read).await?.iter().map(state).collect()
    }

    /// One of them.
    pub async fn export(&self, name: &str) -> Result<Option<ExportState>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("{STATES} WHERE name = $1"));
        query(sql).bind(name).fetch_optional(&self.read).await?.as_ref().map(state).transpose()
    }

    /// Those that something waits for.
    pub async fn due_exports(&self) -> Result<Vec<Exporting>, StoreError> {
        let rows = query(
            "SELECT export, position, problem FROM exports
             WHERE position < (SELECT coalesce(max(seq), 0) FROM decisions) ORDER BY name",
        )
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(exporting).collect()
    }

    /// Keeps a new one. Refuses a name that is taken.
    pub async fn insert_export(&self, export: &Export, beginning: bool, change: &Change) -> Result<(), StoreError> {
        let mut changing = self.changing(change).await?;
        query(
            "INSERT INTO exports (name, export, provider, position)
             SELECT $1, $2, $3, CASE WHEN $4 <> 0 THEN 0 ELSE coalesce(max(seq), 0) END FROM decisions",
        )
        .bind(export.name.as_str())
        .bind(json("export", export)?)
        .bind(export.provider.as_ref().map(Name::as_str))
        .bind(i64::from(beginning))
        .execute(changing.tx())
        .await
        .map_err(|error| match is_unique_violation(&error) {
            true => StoreError::Exists { what: "export", name: export.name.to_string() },
            false => error.into(),
        })?;
        changing.commit().await
    }

    /// Forgets one.
    pub async fn delete_export(&self, name: &str, change: &Change) -> Result<(), StoreError> {
        let mut changing = self.changing(change).await?;
        query("DELETE FROM exports WHERE name = $1").bind(name).execute(changing.tx()).await?;
        changing.commit().await
    }

    /// Moves an export on; `false`: it is no longer what and where it was, so that what was sent may be sent again.
    pub async fn move_export(&self, was: &Exporting, position: i64, came: Progress) -> Result<bool, StoreError> {
        let done = query(
            "UPDATE exports SET position = $1, delivered = delivered + $2, refused = refused + $3,
             delivered_ms = CASE WHEN $2 > 0 THEN $4 ELSE delivered_ms END, problem = NULL
             WHERE name = $5 AND position = $6 AND export = $7",
        )
        .bind(position)
        .bind(int(came.delivered))
        .bind(int(came.refused))
        .bind(jiff::Timestamp::now().as_millisecond())
        .bind(was.export.name.as_str())
        .bind(was.position)
        .bind(json("export", &was.export)?)
        .execute(&self.write)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Notes why an attempt failed.
    pub async fn export_failed(&self, name: &Name, problem: &str) -> Result<(), StoreError> {
        query("UPDATE exports SET problem = $1 WHERE name = $2")
            .bind(problem)
            .bind(name.as_str())
            .execute(&self.write)
            .await?;
        Ok(())
    }
}

/// What of the decisions up to `cut` may be forgotten, given what waits to be exported: nothing that does, unless it is older than
/// `far`. What is then forgotten is counted as lost.
pub(super) async fn forgettable(tx: &mut Transaction, cut: i64, far: i64) -> Result<i64, StoreError> {
    query(
        "UPDATE exports SET lost = lost + (SELECT count(*) FROM decisions WHERE seq > exports.position AND seq <= $1),
         position = $1 WHERE position < $1",
    )
    .bind(far)
    .execute(&mut *tx)
    .await?;
    let slowest: Option<i64> = query_scalar("SELECT min(position) FROM exports").fetch_one(&mut *tx).await?;
    Ok(slowest.map_or(cut, |slowest| cut.min(slowest)))
}

fn exporting(row: &Row) -> Result<Exporting, StoreError> {
    Ok(Exporting {
        export: parse("export", row.try_get("export")?)?,
        position: row.try_get("position")?,
        problem: row.try_get("problem")?,
    })
}

fn state(row: &Row) -> Result<ExportState, StoreError> {
    let count = |column: &str| Ok::<_, StoreError>(uint(row.try_get(column)?));
    Ok(ExportState {
        export: parse("export", row.try_get("export")?)?,
        delivered: count("delivered")?,
        refused: count("refused")?,
        lost: count("lost")?,
        waiting: count("waiting")?,
        delivered_at: millis(row.try_get("delivered_ms")?)?,
        problem: row.try_get("problem")?,
    })
}
