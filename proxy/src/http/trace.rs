//! Traces that a request belongs to (W3C Trace Context, <https://www.w3.org/TR/trace-context/>). The proxy is a span of them: the
//! upstream finds it in `traceparent` where the caller's was. A request that belongs to none is not made part of one.

use http::{HeaderMap, HeaderName, HeaderValue};
use openshell_api::decision::{DecisionRecord, TraceRecord};

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Length of a header of version 00.
const LENGTH: usize = 55;

/// What a `traceparent` says: the trace and the caller's span, and the flags. `None`: it is none (section 3.2.2), and passes as it is.
fn parse(value: &str) -> Option<(&str, &str, &str)> {
    let mut parts = value.splitn(5, '-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let known = hex(version, 2) && version != "ff" && (version != "00" || value.len() == LENGTH);
    let whole = hex(trace, 32) && !is_zero(trace) && hex(parent, 16) && !is_zero(parent) && hex(flags, 2);
    (known && whole).then_some((trace, parent, flags))
}

/// The trace and the caller's span in it.
pub(super) fn read(value: &str) -> Option<TraceRecord> {
    let (trace, parent, _) = parse(value)?;
    Some(TraceRecord { trace_id: trace.to_owned(), parent_id: parent.to_owned() })
}

/// The same of a request's headers.
pub(crate) fn of(headers: &HeaderMap) -> Option<TraceRecord> {
    headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(read)
}

/// Puts the record's span in the place of the caller's, in headers on their way upstream.
pub(super) fn go_on(headers: &mut HeaderMap, record: &DecisionRecord) {
    let Some(present) = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()) else { return };
    let Some((trace, _, flags)) = parse(present) else { return };
    let next = format!("00-{trace}-{}-{flags}", record.span_id());
    if let Ok(value) = HeaderValue::try_from(next) {
        headers.insert(TRACEPARENT, value);
    }
}

#[cfg(test)]
mod tests {
    use openshell_api::decision::{ProcessRecord, Stage, Subject};

    use super::*;

    #[test]
    fn what_belongs_to_a_trace_is_known() {
        let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        for (value, expected) in [
            (format!("00-{trace}-{parent}-01"), true),
            (format!("00-{trace}-{parent}-00"), true),
            (format!("01-{trace}-{parent}-01-more"), true),
            (format!("00-{trace}-{parent}-01-more"), false),
            (format!("ff-{trace}-{parent}-01"), false),
            (format!("00-{}-{parent}-01", trace.to_uppercase()), false),
            (format!("00-{}-{parent}-01", "0".repeat(32)), false),
            (format!("00-{trace}-{}-01", "0".repeat(16)), false),
            (format!("00-{trace}-{parent}"), false),
            (format!("00-{trace}-{parent}-1"), false),
            (format!(" 00-{trace}-{parent}-01"), false),
            (String::new(), false),
        ] {
            let found = read(&value);
            assert_eq!(found.is_some(), expected, "{value:?}");
            assert!(found.is_none_or(|found| found.trace_id == trace && found.parent_id == parent));
        }
    }

    #[test]
    fn the_upstream_finds_the_proxys_span() {
        let subject = Subject { sandbox: "a", process: ProcessRecord::default(), host: "h.test", port: 443 };
        let record = DecisionRecord::unanswered(subject, Stage::Request, 1);
        let sent = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, value.parse().unwrap());
            go_on(&mut headers, &record);
            headers[TRACEPARENT].to_str().unwrap().to_owned()
        };
        let value = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(sent(value), format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", record.span_id()));
        assert_eq!(sent("what is this"), "what is this");
        let mut none = HeaderMap::new();
        go_on(&mut none, &record);
        assert!(none.is_empty());
    }
}
