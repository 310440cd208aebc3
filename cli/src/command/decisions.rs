//! `openshell decisions`.

use std::time::Duration;

use openshell_api::decision::{DecisionRecord, Stage, Verdict};
use openshell_api::page::MAX_RECORDS;

use super::{Context, DONE};
use crate::args::decisions::DecisionsArgs;
use crate::client::Client;
use crate::error::Error;
use crate::output::{Table, line, printable, span, word};

const HEADINGS: [&str; 8] = ["TIME", "SANDBOX", "PROCESS", "DESTINATION", "VERDICT", "RULE", "POLICY", "TOOK"];
/// Columns of a stream, whose widths can't be known beforehand.
const WIDTHS: [usize; 7] = [12, 10, 16, 40, 7, 20, 16];

/// Shows recorded decisions, and with `--follow` those to come.
pub async fn run(cx: &Context, args: DecisionsArgs) -> Result<u8, Error> {
    let mut query = Vec::new();
    query.extend(args.sandbox.map(|sandbox| ("sandbox", sandbox.to_string())));
    if let Some(span) = args.since {
        query.push(("since", since(span).to_string()));
    }
    let client = cx.client().await?;
    if args.follow {
        query.push(("limit", args.limit.min(MAX_RECORDS).to_string()));
        return follow(cx, &client, &query, args.reasons).await;
    }
    let records = client.decisions(&query, args.limit as usize).await?;
    cx.out.data(&records, || table(&records, args.reasons))?;
    Ok(DONE)
}

/// The moment that long ago; the beginning of time for more than that.
pub fn since(span: Duration) -> jiff::Timestamp {
    jiff::Timestamp::now().checked_sub(span).unwrap_or(jiff::Timestamp::MIN)
}

async fn follow(cx: &Context, client: &Client, query: &[(&str, String)], reasons: bool) -> Result<u8, Error> {
    let mut records = client.follow_decisions(query).await?;
    if cx.out.is_table() {
        cx.out.text(&line(&HEADINGS.map(String::from), &WIDTHS))?;
    }
    while let Some(record) = records.next().await? {
        cx.out.record(&record, || {
            let cells = cells(&record).map(|cell| printable(&cell));
            let mut text = line(&cells, &WIDTHS);
            if reasons {
                text.push('\n');
                text.push_str(&reasons_of(&record));
            }
            text
        })?;
    }
    Ok(DONE)
}

fn table(records: &[DecisionRecord], reasons: bool) -> String {
    let mut table = Table::new(HEADINGS);
    records.iter().for_each(|record| table.row(cells(record)));
    let text = table.render_or("no decisions");
    if !reasons || records.is_empty() {
        return text;
    }
    let mut lines = text.lines();
    let mut text = lines.next().map(|heading| format!("{heading}\n")).unwrap_or_default();
    for (line, record) in lines.zip(records) {
        text.push_str(&format!("{line}\n{}", reasons_of(record)));
    }
    text
}

/// Cells of one decision.
fn cells(record: &DecisionRecord) -> [String; 8] {
    [
        record.at.strftime("%H:%M:%S%.3f").to_string(),
        record.sandbox.clone(),
        process(record),
        destination(record),
        verdict(record),
        record.rule.clone().unwrap_or_default(),
        record.policy.clone().unwrap_or_default(),
        took(record),
    ]
}

/// The executable's file name, and the script if it is an interpreter.
fn process(record: &DecisionRecord) -> String {
    let file = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    match (&record.process.script, record.process.executable.as_str()) {
        (_, "") => "unknown".into(),
        (Some(script), executable) => format!("{} {}", file(executable), file(script)),
        (None, executable) => file(executable),
    }
}

/// What was asked for: `GET host/path`, `host:port`, or where an inference request went.
pub fn destination(record: &DecisionRecord) -> String {
    let host = if record.host.contains(':') { format!("[{}]", record.host) } else { record.host.clone() };
    let authority = match (record.stage, record.port) {
        (Stage::Connect | Stage::Dial | Stage::Reevaluate, port) => format!("{host}:{port}"),
        (_, 443 | 80) => host,
        (_, port) => format!("{host}:{port}"),
    };
    if let Some(route) = &record.route {
        let backend = route.backend.as_deref().unwrap_or("no backend");
        return format!("{authority} → {backend} ({})", word(&route.sensitivity));
    }
    let path = record.path.as_deref().unwrap_or_default();
    match &record.method {
        Some(method) => format!("{method} {authority}{path}"),
        None => format!("{} {authority}", word(&record.stage)),
    }
}

fn verdict(record: &DecisionRecord) -> String {
    match (record.verdict, &record.audit) {
        (Verdict::Allow, Some(_)) => "allow (audit)".into(),
        (verdict, _) => word(&verdict),
    }
}

fn took(record: &DecisionRecord) -> String {
    let memo = if record.memoized { " memo" } else { "" };
    format!("{}{memo}", span(record.decision_ns))
}

/// The reason and the hint, each on a line of its own.
fn reasons_of(record: &DecisionRecord) -> String {
    let lines = [("reason", &record.reason), ("hint", &record.hint), ("audit", &record.audit)];
    lines.iter().filter_map(|(name, text)| Some(format!("    {name}: {}\n", printable(text.as_deref()?)))).collect()
}

#[cfg(test)]
mod tests {
    use openshell_api::decision::ProcessRecord;

    use super::*;

    fn record(edit: impl FnOnce(&mut DecisionRecord)) -> DecisionRecord {
        let json = serde_json::json!({
            "id": "01J", "at": "2026-01-10T12:00:00.5Z", "sandbox": "demo", "generation": 3, "stage": "request",
            "process": ProcessRecord { executable: "/usr/bin/curl".into(), ..ProcessRecord::default() },
            "host": "api.test", "port": 443, "method": "POST", "path": "/items", "verdict": "deny",
            "rule": "read-only", "policy": "my-policy@0.1.0", "reason": "POST would write", "hint": "use GET",
            "decision_ns": 12_345, "memoized": false,
        });
        let mut record = serde_json::from_value(json).expect("a record");
        edit(&mut record);
        record
    }

    #[test]
    fn one_line_says_who_what_and_why() {
        let check = |edit: fn(&mut DecisionRecord), expected: &str| {
            assert_eq!(cells(&record(edit)).join(" | "), expected);
        };
        check(
            |_| {},
            "12:00:00.500 | demo | curl | POST api.test/items | deny | read-only | my-policy@0.1.0 | 12.3 µs",
        );
        check(
            |r| (r.stage, r.method, r.path, r.memoized) = (Stage::Connect, None, None, true),
            "12:00:00.500 | demo | curl | connect api.test:443 | deny | read-only | my-policy@0.1.0 | 12.3 µs memo",
        );
        check(
            |r| (r.host, r.port, r.process) = ("::1".into(), 8443, ProcessRecord::default()),
            "12:00:00.500 | demo | unknown | POST [::1]:8443/items | deny | read-only | my-policy@0.1.0 | 12.3 µs",
        );
        check(
            |r| {
                r.process.script = Some("/work/agent.py".into());
                (r.verdict, r.audit, r.rule, r.policy) = (Verdict::Allow, Some("would deny".into()), None, None);
            },
            "12:00:00.500 | demo | curl agent.py | POST api.test/items | allow (audit) |  |  | 12.3 µs",
        );
    }

    #[test]
    fn reasons_stand_below_their_decision() {
        let text = table(&[record(|_| {})], true);
        assert!(text.ends_with("12.3 µs\n    reason: POST would write\n    hint: use GET\n"), "{text}");
        assert_eq!(table(&[], true), "no decisions");
    }
}
