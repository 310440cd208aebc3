//! OTLP/HTTP in JSON, <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>, with the names of the semantic conventions
//! where they have one.

use openshell_api::decision::{DecisionRecord, Verdict};
use openshell_api::word;
use serde_json::{Value, json};

use super::sentence;

const SCOPE: &str = "openshell.decisions";
/// Severity numbers of the log data model.
const INFO: u32 = 9;
const WARN: u32 = 13;
/// Kinds of spans: on behalf of a caller; within.
const SERVER: u32 = 2;
const INTERNAL: u32 = 1;
/// Status of a span that did not do what it should.
const ERROR: u32 = 2;

/// Decisions as log records.
pub(super) fn logs(gateway: &str, records: &[&DecisionRecord]) -> Value {
    let now = nanos(jiff::Timestamp::now());
    let logs: Vec<Value> = records
        .iter()
        .map(|record| {
            let denied = record.verdict == Verdict::Deny;
            json!({
                "timeUnixNano": nanos(record.at),
                "observedTimeUnixNano": now,
                "severityNumber": if denied { WARN } else { INFO },
                "severityText": if denied { "WARN" } else { "INFO" },
                "eventName": "openshell.decision",
                "body": { "stringValue": sentence(record) },
                "attributes": attributes(record),
                "traceId": record.trace_id(),
                "spanId": record.span_id(),
            })
        })
        .collect();
    json!({ "resourceLogs": [{
        "resource": resource(gateway),
        "scopeLogs": [{ "scope": scope(), "logRecords": logs }],
    }] })
}

/// Requests as spans: each from its question to its answer's head, and in it what the policies took. One whose `traceparent` named a
/// trace belongs to that; else it is a trace of its own.
pub(super) fn traces(gateway: &str, records: &[&DecisionRecord]) -> Value {
    let spans: Vec<Value> = records.iter().flat_map(|record| spans(record)).collect();
    json!({ "resourceSpans": [{
        "resource": resource(gateway),
        "scopeSpans": [{ "scope": scope(), "spans": spans }],
    }] })
}

fn spans(record: &DecisionRecord) -> [Value; 2] {
    let after = |ns: i128| (record.at.as_nanosecond() + ns).to_string();
    let decided = i128::from(record.decision_ns);
    // What was refused at once was over with the decision.
    let took = record.took_us.map_or(decided, |us| i128::from(us) * 1000).max(decided);
    let mut request = json!({
        "traceId": record.trace_id(),
        "spanId": record.span_id(),
        "name": record.method,
        "kind": SERVER,
        "startTimeUnixNano": nanos(record.at),
        "endTimeUnixNano": after(took),
        "attributes": attributes(record),
    });
    if let Some(trace) = &record.trace {
        request["parentSpanId"] = trace.parent_id.as_str().into();
    }
    if record.verdict == Verdict::Deny {
        request["status"] = json!({ "code": ERROR, "message": record.reason.as_deref().unwrap_or_default() });
    }
    let decision = json!({
        "traceId": record.trace_id(),
        "spanId": inner_id(&record.span_id()),
        "parentSpanId": record.span_id(),
        "name": "policy decision",
        "kind": INTERNAL,
        "startTimeUnixNano": nanos(record.at),
        "endTimeUnixNano": after(decided),
        "attributes": [text("openshell.verdict", &word(&record.verdict))],
    });
    [request, decision]
}

/// A further id: the span's own with its first digit changed.
fn inner_id(span: &str) -> String {
    let (first, rest) = span.split_at(1);
    let digit = u8::from_str_radix(first, 16).unwrap_or_default();
    format!("{:x}{rest}", digit ^ 8)
}

fn resource(gateway: &str) -> Value {
    json!({ "attributes": [
        text("service.name", "openshell"),
        text("service.instance.id", gateway),
        text("service.version", env!("CARGO_PKG_VERSION")),
    ] })
}

fn scope() -> Value {
    json!({ "name": SCOPE, "version": env!("CARGO_PKG_VERSION") })
}

fn attributes(record: &DecisionRecord) -> Vec<Value> {
    let mut found = vec![
        text("openshell.decision.id", &record.id),
        text("openshell.sandbox", &record.sandbox),
        number("openshell.generation", record.generation),
        text("openshell.stage", &word(&record.stage)),
        text("openshell.verdict", &word(&record.verdict)),
        number("openshell.decision_ns", record.decision_ns),
        text("server.address", &record.host),
        number("server.port", record.port),
        number("process.pid", record.process.pid),
    ];
    let route = record.route.as_ref();
    let executable = Some(&record.process.executable).filter(|executable| !executable.is_empty());
    let texts = [
        ("http.request.method", record.method.as_ref()),
        ("url.path", record.path.as_ref()),
        ("error.type", record.error.as_ref()),
        ("process.executable.path", executable),
        ("openshell.policy", record.policy.as_ref()),
        ("openshell.rule", record.rule.as_ref()),
        ("openshell.reason", record.reason.as_ref()),
        ("openshell.credential", record.credential.as_ref()),
        ("openshell.inference.backend", route.and_then(|route| route.backend.as_ref())),
        ("gen_ai.request.model", route.and_then(|route| route.model.as_ref())),
    ];
    found.extend(texts.into_iter().filter_map(|(key, value)| value.map(|value| text(key, value))));
    if let Some(route) = route {
        found.push(text("openshell.inference.sensitivity", &word(&route.sensitivity)));
    }
    let numbers = [
        ("http.response.status_code", record.status.map(u64::from)),
        ("gen_ai.usage.input_tokens", route.and_then(|route| route.input_tokens)),
        ("gen_ai.usage.output_tokens", route.and_then(|route| route.output_tokens)),
    ];
    found.extend(numbers.into_iter().filter_map(|(key, value)| value.map(|value| number(key, value))));
    found
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// Numbers of 64 bits are strings in protobuf's JSON.
fn number(key: &str, value: impl Into<u64>) -> Value {
    json!({ "key": key, "value": { "intValue": value.into().to_string() } })
}

fn nanos(at: jiff::Timestamp) -> String {
    at.as_nanosecond().to_string()
}
