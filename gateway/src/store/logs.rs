//! What workloads and supervisors write: the newest lines of each sandbox. What is missing is told in its place.
//!
//! A supervisor numbers its lines without a gap, also those that it loses, so a gap is a loss ([`Store::put_logs`]). What the gateway
//! forgets is the beginning of a log: how many lines that is (`log_trims`) tells whoever reads on how many of them it had not read.

use jiff::Timestamp;
use openshell_api::sandbox::LogLine;

use super::db::{Row, Transaction, Turn, query, query_scalar};
use super::records::numbered;
use super::{Numbered, Store, StoreError, int, json, uint};
use crate::followers::Followers;

/// Lines of a sandbox that are kept; [`trimmed`] says so.
pub const KEEP_LOG_LINES: i64 = 50_000;
/// So many times as many are kept for somebody who follows and has not read them.
const PATIENCE: i64 = 4;

/// A part of a sandbox's log.
pub struct LogPart {
    /// Lines that the log began with and that are forgotten. 0 where it has no lines.
    pub forgotten: u64,
    /// Some that are kept.
    pub lines: Vec<Numbered<LogLine>>,
}

impl Store {
    /// Keeps log lines of a sandbox; `first` is the supervisor's number of the first one. Redelivery changes nothing. Numbers that
    /// were left out since the last line are a line that says so.
    pub async fn put_logs(&self, sandbox_id: &str, first: u64, lines: &[LogLine]) -> Result<(), StoreError> {
        let mut tx = self.write.begin(Turn::Logs).await?;
        let last: Option<i64> = query_scalar("SELECT max(source_seq) FROM logs WHERE sandbox_id = $1")
            .bind(sandbox_id)
            .fetch_one(&mut tx)
            .await?;
        // Lines from before a sandbox moved have negative numbers.
        let lost = first.saturating_sub(1).saturating_sub(last.map_or(0, uint));
        if let Some(next) = lines.first().filter(|_| lost > 0) {
            put_line(&mut tx, sandbox_id, first - 1, &undelivered(next.at, lost)).await?;
        }
        for (number, line) in (first..).zip(lines) {
            put_line(&mut tx, sandbox_id, number, line).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The newest log lines of a sandbox before `before`, newest first, at most so many.
    pub async fn logs_before(&self, sandbox_id: &str, before: Option<i64>, limit: u32) -> Result<LogPart, StoreError> {
        let rows = query(
            "SELECT seq, line, coalesce((SELECT lines FROM log_trims WHERE sandbox_id = $1), 0) AS forgotten
             FROM logs WHERE sandbox_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3",
        )
        .bind(sandbox_id)
        .bind(before.unwrap_or(i64::MAX))
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await?;
        part(&rows)
    }

    /// Log lines stored after `seq`, oldest first, at most 500.
    pub async fn logs_after(&self, sandbox_id: &str, seq: i64) -> Result<LogPart, StoreError> {
        let rows = query(
            "SELECT seq, line, coalesce((SELECT lines FROM log_trims WHERE sandbox_id = $1), 0) AS forgotten
             FROM logs WHERE sandbox_id = $1 AND seq > $2 ORDER BY seq LIMIT 500",
        )
        .bind(sandbox_id)
        .bind(seq)
        .fetch_all(&self.read)
        .await?;
        part(&rows)
    }

    /// How many lines a sandbox has written up to one that is kept, forgotten ones included.
    pub async fn log_place(&self, sandbox_id: &str, seq: i64) -> Result<u64, StoreError> {
        let place: i64 = query_scalar(
            "SELECT coalesce((SELECT lines FROM log_trims WHERE sandbox_id = $1), 0)
                  + (SELECT count(*) FROM logs WHERE sandbox_id = $1 AND seq <= $2) AS place",
        )
        .bind(sandbox_id)
        .bind(seq)
        .fetch_one(&self.read)
        .await?;
        Ok(uint(place))
    }

    /// Forgets all but the newest `keep` log lines of each sandbox. Those that somebody follows and has not read yet stay for four
    /// times as many.
    pub async fn trim_logs(&self, keep: i64, followers: &Followers) -> Result<(), StoreError> {
        let crowded: Vec<String> = query_scalar("SELECT sandbox_id FROM logs GROUP BY sandbox_id HAVING count(*) > $1")
            .bind(keep)
            .fetch_all(&self.read)
            .await?;
        for id in crowded {
            let reached = followers.reached(&id);
            let mut tx = self.write.begin(Turn::Logs).await?;
            let mut through = before_newest(&mut tx, &id, keep).await?;
            if let Some(reached) = reached.filter(|reached| *reached < through) {
                through = before_newest(&mut tx, &id, PATIENCE * keep).await?.max(reached);
            }
            let done = query("DELETE FROM logs WHERE sandbox_id = $1 AND seq <= $2")
                .bind(&id)
                .bind(through)
                .execute(&mut tx)
                .await?;
            if done.rows_affected() > 0 {
                query(
                    "INSERT INTO log_trims (sandbox_id, lines) VALUES ($1, $2)
                     ON CONFLICT (sandbox_id) DO UPDATE SET lines = log_trims.lines + excluded.lines",
                )
                .bind(&id)
                .bind(int(done.rows_affected()))
                .execute(&mut tx)
                .await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }
}

async fn put_line(tx: &mut Transaction, sandbox_id: &str, number: u64, line: &LogLine) -> Result<(), StoreError> {
    query("INSERT INTO logs (sandbox_id, source_seq, line) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(sandbox_id)
        .bind(int(number))
        .bind(json("log line", line)?)
        .execute(tx)
        .await?;
    Ok(())
}

/// Number of the newest line that precedes a sandbox's newest `keep`; 0: none does.
async fn before_newest(tx: &mut Transaction, sandbox_id: &str, keep: i64) -> Result<i64, StoreError> {
    let newest: Option<i64> =
        query_scalar("SELECT seq FROM logs WHERE sandbox_id = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2")
            .bind(sandbox_id)
            .bind(keep)
            .fetch_optional(tx)
            .await?;
    Ok(newest.unwrap_or(0))
}

fn part(rows: &[Row]) -> Result<LogPart, StoreError> {
    let forgotten = match rows.first() {
        Some(row) => uint(row.try_get::<i64>("forgotten")?),
        None => 0,
    };
    let lines = rows.iter().map(|row| numbered("log line", row, "line")).collect::<Result<_, _>>()?;
    Ok(LogPart { forgotten, lines })
}

/// Stands in the place of lines that were forgotten before they were read; `at` is the next one's time.
pub fn trimmed(at: Timestamp, lost: u64) -> LogLine {
    missing(at, lost, "the gateway keeps the last 50,000 lines of a sandbox")
}

/// Stands in the place of lines that a supervisor did not keep until the gateway had stored them.
fn undelivered(at: Timestamp, lost: u64) -> LogLine {
    missing(at, lost, "the gateway could not be reached, or could not store them, for too long")
}

fn missing(at: Timestamp, lost: u64, why: &str) -> LogLine {
    let lines = if lost == 1 { "1 line was".to_owned() } else { format!("{lost} lines were") };
    LogLine {
        at,
        stream: "gateway".to_owned(),
        line: format!("{lines} dropped here: {why}"),
        exit_code: None,
        lost: Some(lost),
    }
}
