//! Rows: a record, and what is asked and read.

use openshell_api::decision::Subject;

use super::*;

fn record(stage: Stage, edit: impl FnOnce(&mut DecisionRecord)) -> DecisionRecord {
    let subject = Subject { sandbox: "demo", process: Default::default(), host: "api.test", port: 443 };
    let mut record = DecisionRecord::unanswered(subject, stage, 1);
    let asked = serde_json::json!({
        "capture": "transparent", "scheme": "https", "query": "a=1", "body_bytes": 0,
        "headers": [["content-type", "text/plain"]],
    });
    record.asked = Some(serde_json::from_value(asked).expect("asked"));
    (record.method, record.path) = (Some("GET".into()), Some("/x".into()));
    edit(&mut record);
    record
}

#[test]
fn what_can_not_be_asked_says_why() {
    let check = |record: DecisionRecord, expected: &str| {
        let found = question::of(record).map_or_else(|why| why.to_string(), |_| "asked".into());
        assert!(found.starts_with(expected), "{found}");
    };
    check(record(Stage::Connect, |_| {}), "asked");
    check(record(Stage::Request, |_| {}), "asked");
    check(record(Stage::Route, |_| {}), "an inference request");
    check(record(Stage::Reevaluate, |_| {}), "a live connection");
    check(record(Stage::Connect, |r| r.asked = None), "recorded by an older version");
    check(record(Stage::Dial, |r| r.asked = None), "the host's own refusal");
    check(record(Stage::Response, |_| {}), "recorded by an older version");
    check(record(Stage::Response, |r| r.status = Some(200)), "asked");
}

#[test]
fn a_read_that_was_not_recorded_is_told() {
    let check = |stage: Stage, cap: u32, read: fn(&dyn View) -> bool, missing: Option<&str>| {
        let (question, asked, _) = question::of(record(stage, |r| r.status = Some(200))).unwrap_or_else(|_| panic!());
        let labels = Arc::new(BTreeMap::from([("team".to_owned(), "red".to_owned())]));
        let view = Recorded::new(asked, &question, cap, Some(labels));
        assert!(read(&view), "{stage:?}");
        assert_eq!(view.missing(), missing, "{stage:?}");
    };
    check(Stage::Request, 0, |v| v.header("Content-Type").as_deref() == Some("text/plain"), None);
    check(Stage::Request, 0, |v| v.header("user-agent").is_none(), None);
    check(Stage::Request, 0, |v| v.header("Authorization").is_none(), Some("header authorization"));
    check(Stage::Request, 0, |v| v.headers().is_empty(), Some("headers"));
    check(Stage::Request, 0, |v| v.body().is_none(), None);
    check(Stage::Request, 10, |v| v.body().is_some(), None);
    check(Stage::Request, 0, |v| v.label("team").as_deref() == Some("red"), None);
    check(Stage::Request, 0, |v| v.arguments().is_empty(), Some("arguments"));
    check(Stage::Request, 0, |v| v.ancestors().is_empty(), Some("ancestors"));
    check(Stage::Connect, 10, |v| v.headers().is_empty() && v.header("cookie").is_none() && v.body().is_none(), None);
    check(Stage::Response, 10, |v| v.body().is_none(), None);
}

#[test]
fn flips_of_several_threads_add_up() {
    let flip = |id: &str, to| Flip {
        to,
        rule: "r".into(),
        reason: None,
        destination: "a.test:443".into(),
        method: Some("GET".into()),
        path: Some(format!("/{id}")),
        id: id.into(),
    };
    let (mut one, mut other) = (Tally::default(), Tally::default());
    one.flip(flip("2", Verdict::Deny));
    one.flip(flip("1", Verdict::Deny));
    other.flip(flip("3", Verdict::Deny));
    other.flip(flip("4", Verdict::Allow));
    one.add(other);
    let report = one.report("c".into(), "sha256:00".into(), 1500);
    assert_eq!(report.flips, 4);
    let text = report.text();
    assert!(text.contains("3      allow → deny  r     a.test:443   GET /3   3"), "{text}");
    assert!(text.contains("1      deny → allow  r     a.test:443   GET /4   4"), "{text}");
}
