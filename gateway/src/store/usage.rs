//! What inference was used and what it cost.

use openshell_api::decision::{DecisionRecord, Verdict};
use openshell_api::inference::{Period, Spent, Usage};

use super::db::{Builder, Transaction, query};
use super::{Store, StoreError, int, uint};

/// What usage is broken down by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageBy {
    /// The sandbox.
    Sandbox,
    /// The model that served.
    Model,
    /// The backend that served.
    Backend,
    /// The day, in UTC.
    Day,
}

impl UsageBy {
    fn column(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Model => "model",
            Self::Backend => "backend",
            Self::Day => "day",
        }
    }
}

/// Which usage to answer.
#[derive(Debug, Clone, Default)]
pub struct UsageQuery {
    /// Only of this sandbox.
    pub sandbox: Option<String>,
    /// Only from the day of this time on.
    pub since: Option<jiff::Timestamp>,
    /// One line for each of these that differs; none of them: one line for all.
    pub by: Vec<UsageBy>,
}

impl Store {
    /// Usage, summed; what was used most recently or costs most comes last.
    pub async fn usage(&self, query: &UsageQuery) -> Result<Vec<Usage>, StoreError> {
        let columns: Vec<&str> = query.by.iter().map(|by| by.column()).collect();
        let listed = columns.join(", ");
        let mut sql = Builder::new("SELECT ");
        if !columns.is_empty() {
            sql.push(&listed).push(", ");
        }
        sql.push("count(*) AS requests, CAST(sum(input_tokens) AS BIGINT) AS input, CAST(sum(cached_tokens) AS BIGINT) AS cached, \
             CAST(sum(output_tokens) AS BIGINT) AS output, CAST(sum(cost) AS BIGINT) AS cost");
        sql.push(" FROM usage WHERE 1 = 1");
        if let Some(sandbox) = &query.sandbox {
            sql.push(" AND sandbox = ").push_bind(sandbox);
        }
        if let Some(since) = query.since {
            sql.push(" AND day >= ").push_bind(Period::Day.window(since));
        }
        if !columns.is_empty() {
            sql.push(" GROUP BY ").push(&listed).push(" ORDER BY ");
            sql.push(if query.by.contains(&UsageBy::Day) {
                format!("day, {listed}")
            } else {
                format!("cost, {listed}")
            });
        }
        let rows = sql.build().fetch_all(&self.read).await?;
        let mut usage = Vec::with_capacity(rows.len());
        for row in &rows {
            let text = |by: UsageBy| query.by.contains(&by).then(|| row.try_get::<String>(by.column())).transpose();
            let day = query.by.contains(&UsageBy::Day).then(|| row.try_get::<i64>("day")).transpose()?;
            let sum = |name: &str| Ok::<_, sqlx::Error>(uint(row.try_get::<Option<i64>>(name)?.unwrap_or(0)));
            usage.push(Usage {
                sandbox: text(UsageBy::Sandbox)?,
                model: text(UsageBy::Model)?,
                backend: text(UsageBy::Backend)?,
                day: day.and_then(date),
                requests: sum("requests")?,
                input_tokens: sum("input")?,
                cached_tokens: sum("cached")?,
                output_tokens: sum("output")?,
                cost: sum("cost")?,
            });
        }
        usage.retain(|line| line.requests > 0);
        Ok(usage)
    }

    /// What a sandbox has spent in the windows that `now` falls into: per backend, and all together.
    pub async fn spent(&self, sandbox_id: &str, now: jiff::Timestamp) -> Result<Vec<Spent>, StoreError> {
        let mut spent = Vec::new();
        for period in Period::ALL {
            let window = period.window(now);
            let mut sql = spending("backend", ("sandbox_id", sandbox_id), period, window);
            sql.push(" GROUP BY backend");
            let mut all = Spent { period, window, backend: None, cost: 0, tokens: 0 };
            for row in &sql.build().fetch_all(&self.read).await? {
                let one = Spent {
                    period,
                    window,
                    backend: Some(row.try_get("backend")?),
                    cost: uint(row.try_get("cost")?),
                    tokens: uint(row.try_get("tokens")?),
                };
                all.cost = all.cost.saturating_add(one.cost);
                all.tokens = all.tokens.saturating_add(one.tokens);
                spent.push(one);
            }
            spent.push(all);
        }
        Ok(spent)
    }
}

/// The beginning of a statement: cost and tokens in a window, by `column`, of whoever has `whose` value in its column.
pub(super) fn spending<'q>(column: &str, whose: (&str, &'q str), period: Period, window: i64) -> Builder<'q> {
    let of = match period {
        Period::Day => "day",
        Period::Month => "month",
        Period::Total => "0",
    };
    let mut sql = Builder::new("SELECT ");
    sql.push(column)
        .push(", CAST(sum(cost) AS BIGINT) AS cost, CAST(sum(input_tokens + output_tokens) AS BIGINT) AS tokens");
    sql.push(" FROM usage WHERE ").push(whose.0).push(" = ").push_bind(whose.1);
    sql.push(" AND ").push(of).push(" = ").push_bind(window);
    sql
}

/// Keeps what a request used, if it was one that was charged for: of the answer, and of those that did not pass a check before.
/// Redelivery changes nothing.
pub(super) async fn put_usage(
    tx: &mut Transaction,
    sandbox_id: &str,
    record: &DecisionRecord,
) -> Result<bool, StoreError> {
    let Some(route) = &record.route else { return Ok(false) };
    let last = route.backend.as_deref().filter(|_| record.verdict == Verdict::Allow);
    let last = last.map(|name| (name, route.model.as_deref().unwrap_or_default(), route.charged));
    let before = route.escalated.iter().map(|e| (e.backend.as_str(), e.model.as_str(), e.charged));
    let mut any = false;
    for (number, (backend, model, charge)) in last.into_iter().chain(before).enumerate() {
        let Some(charge) = charge else { continue };
        let id = if number == 0 { record.id.clone() } else { format!("{}/{number}", record.id) };
        let done = query(
            "INSERT INTO usage
             (decision, sandbox_id, sandbox, backend, model, day, month, input_tokens, cached_tokens, output_tokens, cost,
              owner)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
              COALESCE((SELECT owner FROM sandboxes WHERE id = $2), '')) ON CONFLICT DO NOTHING",
        )
        .bind(id)
        .bind(sandbox_id)
        .bind(&record.sandbox)
        .bind(backend)
        .bind(model)
        .bind(Period::Day.window(record.at))
        .bind(Period::Month.window(record.at))
        .bind(int(charge.input_tokens))
        .bind(int(charge.cached_tokens))
        .bind(int(charge.output_tokens))
        .bind(int(charge.cost))
        .execute(&mut *tx)
        .await?;
        any |= done.rows_affected() > 0;
    }
    Ok(any)
}

/// `2024-05-01` of a day since the Unix epoch.
fn date(day: i64) -> Option<String> {
    let at = jiff::Timestamp::from_second(day.checked_mul(86_400)?).ok()?;
    Some(jiff::tz::TimeZone::UTC.to_datetime(at).date().to_string())
}
