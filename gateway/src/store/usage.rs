//! What inference was used and what it cost.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use openshell_api::decision::{Charge, DecisionRecord, Verdict};
use openshell_api::inference::{Period, Spent, Usage};

use super::db::{Builder, Transaction, query, query_scalar};
use super::records::ROWS_AT_ONCE;
use super::{Store, StoreError, int, uint};

/// The most that a request, or a sandbox's use of a backend on a day, counts as: a thousand of these can be added up.
const MOST: i64 = i64::MAX / 1024;

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
    sql.push(column).push(", CAST(sum(cost) AS BIGINT) AS cost, CAST(sum(tokens) AS BIGINT) AS tokens");
    sql.push(" FROM spending WHERE ").push(whose.0).push(" = ").push_bind(whose.1);
    sql.push(" AND ").push(of).push(" = ").push_bind(window);
    sql
}

/// A request that was charged for.
struct Charged<'a> {
    id: Cow<'a, str>,
    sandbox: &'a str,
    at: jiff::Timestamp,
    backend: &'a str,
    model: &'a str,
    charge: Charge,
}

impl<'a> Charged<'a> {
    /// Of a record: the answer, and those that did not pass a check before.
    fn of(record: &'a DecisionRecord) -> impl Iterator<Item = Self> {
        let route = record.route.as_ref();
        let last = route.filter(|_| record.verdict == Verdict::Allow).and_then(|route| {
            Some((route.backend.as_deref()?, route.model.as_deref().unwrap_or_default(), route.charged))
        });
        let before = route.into_iter().flat_map(|route| &route.escalated);
        let before = before.map(|e| (e.backend.as_str(), e.model.as_str(), e.charged));
        last.into_iter().chain(before).enumerate().filter_map(|(number, (backend, model, charge))| {
            let id = if number == 0 { record.id.as_str().into() } else { format!("{}/{number}", record.id).into() };
            Some(Self { id, sandbox: &record.sandbox, at: record.at, backend, model, charge: charge? })
        })
    }
}

/// Keeps what requests used, of those that were charged for, and what it comes to. Redelivery changes nothing. Answers whether any
/// of it is new.
pub(super) async fn put_usage(
    tx: &mut Transaction,
    sandbox_id: &str,
    records: impl Iterator<Item = &DecisionRecord>,
) -> Result<bool, StoreError> {
    let charged: Vec<Charged<'_>> = records.flat_map(Charged::of).collect();
    if charged.is_empty() {
        return Ok(false);
    }
    let owner: Option<String> =
        query_scalar("SELECT owner FROM sandboxes WHERE id = $1").bind(sandbox_id).fetch_optional(&mut *tx).await?;
    let owner = owner.unwrap_or_default();
    // What is new of it, by backend and day.
    let mut spent: BTreeMap<(&str, i64), (i64, i64, i64)> = BTreeMap::new();
    for rows in charged.chunks(ROWS_AT_ONCE) {
        let mut insert = Builder::new(
            "INSERT INTO usage
             (decision, sandbox_id, sandbox, backend, model, day, month, input_tokens, cached_tokens, output_tokens, cost, owner) ",
        );
        insert.push_values(rows.iter().map(|one| {
            [
                (&*one.id).into(),
                sandbox_id.into(),
                one.sandbox.into(),
                one.backend.into(),
                one.model.into(),
                Period::Day.window(one.at).into(),
                Period::Month.window(one.at).into(),
                bounded(one.charge.input_tokens).into(),
                bounded(one.charge.cached_tokens).into(),
                bounded(one.charge.output_tokens).into(),
                bounded(one.charge.cost).into(),
                (&owner).into(),
            ]
        }));
        insert.push(" ON CONFLICT DO NOTHING RETURNING decision");
        let new = insert.build().persistent(rows.len() == ROWS_AT_ONCE).fetch_all(&mut *tx).await?;
        let mut new = new.iter().map(|row| row.try_get(0)).collect::<Result<HashSet<String>, _>>()?;
        for one in rows.iter().filter(|one| new.remove(&*one.id)) {
            let month = Period::Month.window(one.at);
            let (_, cost, tokens) = spent.entry((one.backend, Period::Day.window(one.at))).or_insert((month, 0, 0));
            *cost = cost.saturating_add(bounded(one.charge.cost));
            *tokens = tokens
                .saturating_add(bounded(one.charge.input_tokens))
                .saturating_add(bounded(one.charge.output_tokens));
        }
    }
    for ((backend, day), (month, cost, tokens)) in &spent {
        query(
            "INSERT INTO spending (sandbox_id, owner, backend, day, month, cost, tokens) VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (sandbox_id, owner, backend, day) DO UPDATE SET
             cost = CASE WHEN spending.cost > $8 - excluded.cost THEN $8 ELSE spending.cost + excluded.cost END,
             tokens = CASE WHEN spending.tokens > $8 - excluded.tokens THEN $8 ELSE spending.tokens + excluded.tokens END",
        )
        .bind(sandbox_id)
        .bind(&owner)
        .bind(*backend)
        .bind(*day)
        .bind(*month)
        .bind(*cost.min(&MOST))
        .bind(*tokens.min(&MOST))
        .bind(MOST)
        .execute(&mut *tx)
        .await?;
    }
    Ok(!spent.is_empty())
}

/// What a supervisor says that something cost, so that many of it can be added up.
fn bounded(value: u64) -> i64 {
    int(value).min(MOST)
}

/// `2024-05-01` of a day since the Unix epoch.
fn date(day: i64) -> Option<String> {
    let at = jiff::Timestamp::from_second(day.checked_mul(86_400)?).ok()?;
    Some(jiff::tz::TimeZone::UTC.to_datetime(at).date().to_string())
}
