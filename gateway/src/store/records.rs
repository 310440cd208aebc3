//! What sandboxes report: decisions, sessions. Redelivery changes nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;

use openshell_api::decision::DecisionRecord;
use openshell_api::inference::Sensitivity;

use super::db::{Builder, Row, Turn, query, query_scalar};
use super::usage::put_usage;
use super::{Store, StoreError, parse};

/// Something with the gateway's own sequence number, to continue after.
pub struct Numbered<T> {
    /// Rises with every stored item.
    pub seq: i64,
    /// The item.
    pub item: T,
}

/// A decision, and the line of JSON that it is kept as.
pub struct DecisionText<'a> {
    /// What it says.
    pub record: DecisionRecord,
    /// The same, as text.
    pub text: Cow<'a, str>,
}

/// Decisions that one statement stores: each statement is a way to the database's thread and back.
pub(super) const ROWS_AT_ONCE: usize = 128;

/// Decisions in one page of [`Store::decision_lines`].
const LINES_PER_PAGE: i64 = 1000;

/// Which decisions to answer.
#[derive(Debug, Clone, Default)]
pub struct DecisionQuery {
    /// Only of this sandbox.
    pub sandbox: Option<String>,
    /// Only from this time on.
    pub since: Option<jiff::Timestamp>,
    /// Only those before this one.
    pub before: Option<i64>,
    /// At most so many: the newest.
    pub limit: u32,
}

impl Store {
    /// Keeps decisions of a sandbox, and what they used; those known already are skipped. Answers whether any used something.
    pub async fn put_decisions(&self, sandbox_id: &str, decisions: &[DecisionText<'_>]) -> Result<bool, StoreError> {
        let mut tx = self.write.begin(Turn::Decisions).await?;
        for rows in decisions.chunks(ROWS_AT_ONCE) {
            let mut insert = Builder::new("INSERT INTO decisions (id, sandbox, at_us, record) ");
            insert.push_values(rows.iter().map(|DecisionText { record, text }| {
                [(&record.id).into(), (&record.sandbox).into(), record.at.as_microsecond().into(), (&**text).into()]
            }));
            insert.push(" ON CONFLICT DO NOTHING");
            // Prepared once for whole chunks; the rest of a batch has any length.
            insert.build().persistent(rows.len() == ROWS_AT_ONCE).execute(&mut tx).await?;
        }
        let used = put_usage(&mut tx, sandbox_id, decisions.iter().map(|one| &one.record)).await?;
        tx.commit().await?;
        Ok(used)
    }

    /// The newest decisions that match, newest first.
    pub async fn decisions(&self, which: &DecisionQuery) -> Result<Vec<Numbered<DecisionRecord>>, StoreError> {
        let rows = query(
            "SELECT seq, record FROM decisions WHERE ($1 IS NULL OR sandbox = $1) AND ($2 IS NULL OR at_us >= $2)
             AND seq < $3 ORDER BY seq DESC LIMIT $4",
        )
        .bind(which.sandbox.as_deref())
        .bind(which.since.map(|at| at.as_microsecond()))
        .bind(which.before.unwrap_or(i64::MAX))
        .bind(i64::from(which.limit))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(|row| numbered("decision", row, "record")).collect()
    }

    /// One decision.
    pub async fn decision(&self, id: &str) -> Result<Option<DecisionRecord>, StoreError> {
        let text: Option<String> =
            query_scalar("SELECT record FROM decisions WHERE id = $1").bind(id).fetch_optional(&self.read).await?;
        text.map(|text| parse("decision", &text)).transpose()
    }

    /// Decisions stored after `seq`, oldest first, as JSON lines, and the last one's number; `None`: there is none. One
    /// page at a time: a row for each would cost more than reading it.
    pub async fn decision_lines(
        &self,
        sandbox: Option<&str>,
        since: Option<jiff::Timestamp>,
        seq: i64,
    ) -> Result<Option<(i64, String)>, StoreError> {
        let row = query(
            "SELECT max(seq) AS last, string_agg(record, $5 ORDER BY seq) AS lines FROM (
                 SELECT seq, record FROM decisions
                 WHERE seq > $1 AND ($2 IS NULL OR sandbox = $2) AND ($3 IS NULL OR at_us >= $3)
                 ORDER BY seq LIMIT $4) AS page",
        )
        .bind(seq)
        .bind(sandbox)
        .bind(since.map(|at| at.as_microsecond()))
        .bind(LINES_PER_PAGE)
        .bind("\n")
        .fetch_one(&self.read)
        .await?;
        let last: Option<i64> = row.try_get("last")?;
        let Some(last) = last else { return Ok(None) };
        let mut lines: String = row.try_get("lines")?;
        lines.push('\n');
        Ok(Some((last, lines)))
    }

    /// Decisions stored after `seq`, oldest first, at most 500.
    pub async fn decisions_after(
        &self,
        sandbox: Option<&str>,
        seq: i64,
    ) -> Result<Vec<Numbered<DecisionRecord>>, StoreError> {
        let rows = query(
            "SELECT seq, record FROM decisions WHERE seq > $1 AND ($2 IS NULL OR sandbox = $2) ORDER BY seq LIMIT 500",
        )
        .bind(seq)
        .bind(sandbox)
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(|row| numbered("decision", row, "record")).collect()
    }

    /// Number of the newest decision; 0: none.
    pub async fn last_decision_seq(&self) -> Result<i64, StoreError> {
        Ok(query_scalar("SELECT coalesce(max(seq), 0) FROM decisions").fetch_one(&self.read).await?)
    }

    /// How many decisions are kept.
    pub async fn count_decisions(&self) -> Result<u64, StoreError> {
        let count: i64 = query_scalar("SELECT count(*) FROM decisions").fetch_one(&self.read).await?;
        Ok(super::uint(count))
    }

    /// Forgets all but the newest `keep` decisions. Those that wait to be exported stay for four times as many.
    pub async fn trim(&self, keep: i64) -> Result<(), StoreError> {
        let mut tx = self.write.begin(Turn::Decisions).await?;
        let newest: i64 = query_scalar("SELECT coalesce(max(seq), 0) FROM decisions").fetch_one(&mut tx).await?;
        let forgotten = super::exports::forgettable(&mut tx, newest - keep, newest - 4 * keep).await?;
        query("DELETE FROM decisions WHERE seq <= $1").bind(forgotten).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Keeps how sensitive a session has become. Never lowers it.
    pub async fn raise_session(
        &self,
        sandbox_id: &str,
        session: &str,
        sensitivity: Sensitivity,
    ) -> Result<(), StoreError> {
        query(
            "INSERT INTO sessions (sandbox_id, session, sensitivity) VALUES ($1, $2, $3)
             ON CONFLICT (sandbox_id, session) DO UPDATE SET sensitivity = excluded.sensitivity
             WHERE sessions.sensitivity < excluded.sensitivity",
        )
        .bind(sandbox_id)
        .bind(session)
        .bind(sensitivity as i64)
        .execute(&self.write)
        .await?;
        Ok(())
    }

    /// What the sessions of a sandbox have contained. A number this version does not know counts as `Restricted`.
    pub async fn sessions(&self, sandbox_id: &str) -> Result<BTreeMap<String, Sensitivity>, StoreError> {
        let rows = query("SELECT session, sensitivity FROM sessions WHERE sandbox_id = $1")
            .bind(sandbox_id)
            .fetch_all(&self.read)
            .await?;
        rows.iter()
            .map(|row| {
                let sensitivity = match row.try_get::<i64>("sensitivity")? {
                    0 => Sensitivity::Public,
                    1 => Sensitivity::Internal,
                    2 => Sensitivity::Confidential,
                    _ => Sensitivity::Restricted,
                };
                Ok((row.try_get("session")?, sensitivity))
            })
            .collect()
    }
}

pub(super) fn numbered<T: serde::de::DeserializeOwned>(
    what: &'static str,
    row: &Row,
    column: &str,
) -> Result<Numbered<T>, StoreError> {
    Ok(Numbered { seq: row.try_get("seq")?, item: parse(what, row.try_get(column)?)? })
}
