//! What was seen, and the rules it becomes.

use openshell_api::decision::{DecisionRecord, ProcessRecord, Stage, Subject, Verdict};

use super::rules::{Style, write};
use super::seen::{Seen, general};

/// `METHOD host:port/path program` or `connect host:port program`; `!` before it: denied; `@address` after it: an
/// address that was refused.
fn seen(rows: &[&str]) -> Seen {
    let mut seen = Seen::default();
    for row in rows {
        let (row, verdict) = row.strip_prefix('!').map_or((*row, Verdict::Allow), |row| (row, Verdict::Deny));
        let words: Vec<&str> = row.split(' ').collect();
        let (authority, path) = words[1].find('/').map_or((words[1], ""), |at| words[1].split_at(at));
        let (host, port) = authority.rsplit_once(':').expect("host:port");
        let address = words[2].strip_prefix('@');
        let stage = match (words[0], address) {
            (_, Some(_)) => Stage::Dial,
            ("connect", _) => Stage::Connect,
            _ => Stage::Request,
        };
        let process = ProcessRecord { executable: words[2].to_owned(), ..ProcessRecord::default() };
        let subject = Subject { sandbox: "demo", process, host, port: port.parse().expect("a port") };
        let mut record = DecisionRecord::unanswered(subject, stage, 1);
        record.at = "2026-01-10T12:00:00Z".parse().expect("a time");
        record.verdict = verdict;
        record.address = address.map(str::to_owned);
        record.asked = serde_json::from_value(serde_json::json!({ "capture": "transparent" })).ok();
        if stage == Stage::Request {
            (record.method, record.path) = (Some(words[0].to_owned()), Some(path.to_owned()));
        }
        seen.add(&record);
    }
    seen
}

#[test]
fn rules_cover_what_was_seen_and_no_more() {
    let seen = seen(&[
        "connect api.test:443 /usr/bin/curl",
        "GET api.test:443/a /usr/bin/curl",
        "GET api.test:443/items/17 /usr/bin/curl",
        "HEAD api.test:443/a /usr/bin/curl",
        "connect api.test:443 /usr/bin/python3.11",
        "POST api.test:443/items /usr/bin/python3.11",
        "connect git.test:22 /usr/bin/ssh",
        "!connect cdn.test:443 /usr/bin/curl",
        "connect in.test:80 /usr/bin/curl",
        "GET in.test:80/ /usr/bin/curl",
        "!GET in.test:80 @10.0.0.7",
        "!GET meta.test:80 @169.254.169.254",
    ]);
    let text = write("demo", &seen, Style::default()).expect("rules");
    insta::assert_snapshot!("suggested", text);
    let exact = write("demo", &seen, Style { exact: true, allow_private: true }).expect("rules");
    insta::assert_snapshot!("suggested-exact", exact);
    assert!(write("demo", &Seen::default(), Style::default()).is_none());
}

#[test]
fn identifiers_in_paths_become_one() {
    for (path, expected) in [
        ("/", "/"),
        ("/repos/a/b", "/repos/a/b"),
        ("/items/17", "/items/*"),
        ("/v1/x", "/v1/x"),
        ("/o/3f2504e0-4f89-11d3-9a0c-0305e82c3301/x", "/o/*/x"),
        ("/sha/deadbeef01", "/sha/*"),
        ("/facade/", "/facade/"),
        ("/a*b", "/*"),
    ] {
        assert_eq!(general(path), expected, "{path}");
    }
}
