//! Decisions in the words of others.

mod ocsf;
mod otlp;

use openshell_api::decision::{DecisionRecord, Verdict};
use openshell_api::export::ExportFormat;

/// What is sent.
pub(super) struct Message {
    /// Media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

/// A message that tells these decisions.
pub(super) fn message(format: ExportFormat, gateway: &str, records: &[&DecisionRecord]) -> Message {
    let json = "application/json";
    match format {
        ExportFormat::JsonLines => Message { content_type: "application/x-ndjson", body: lines(records) },
        ExportFormat::Ocsf => {
            let events: Vec<_> = records.iter().map(|record| ocsf::event(record)).collect();
            Message { content_type: json, body: serde_json::Value::from(events).to_string().into_bytes() }
        }
        ExportFormat::OtlpLogs => {
            Message { content_type: json, body: otlp::logs(gateway, records).to_string().into_bytes() }
        }
        ExportFormat::OtlpTraces => {
            Message { content_type: json, body: otlp::traces(gateway, records).to_string().into_bytes() }
        }
    }
}

fn lines(records: &[&DecisionRecord]) -> Vec<u8> {
    let mut body = Vec::new();
    for record in records {
        // A record is made of strings and numbers: that can't fail, and a vector takes what it is given.
        let _ = serde_json::to_writer(&mut body, record);
        body.push(b'\n');
    }
    body
}

/// A decision in a sentence.
fn sentence(record: &DecisionRecord) -> String {
    let what = match (&record.method, &record.path) {
        (Some(method), Some(path)) => format!("{method} {}:{}{path}", record.host, record.port),
        _ => format!("a connection to {}:{}", record.host, record.port),
    };
    match (record.verdict, &record.reason) {
        (Verdict::Allow, _) => format!("allowed {what}"),
        (Verdict::Deny, None) => format!("denied {what}"),
        (Verdict::Deny, Some(reason)) => format!("denied {what}: {reason}"),
    }
}

/// The name and the version of `name@version`.
fn named(policy: &str) -> (&str, Option<&str>) {
    policy.split_once('@').map_or((policy, None), |(name, version)| (name, Some(version)))
}
