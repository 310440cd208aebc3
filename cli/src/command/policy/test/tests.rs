//! Rows: a line or a file, and what is read from it.

use super::cases::{self, Kind};
use super::question::Question;

#[test]
fn lines_are_questions() {
    let check = |line: &str, expected: &str| {
        let found = Question::parse(line).map_or_else(
            |_| "refused".to_owned(),
            |question| {
                let connection = &question.connection;
                let request = question.request.as_ref().map_or_else(
                    || "connect".to_owned(),
                    |request| format!("{} {} {:?}", request.method, request.path, request.query),
                );
                format!("{request} {} {} {}", connection.host, connection.port, connection.process.executable)
            },
        );
        assert_eq!(found, expected, "{line}");
    };
    check("connect API.test:443", "connect api.test 443 ");
    check("connect [::1]:443 by /usr/bin/curl", "connect ::1 443 /usr/bin/curl");
    check("get https://a.test/x?y=1 by /bin/a b", "GET /x Some(\"y=1\") a.test 443 /bin/a b");
    check("GET http://a.test:8080", "GET / None a.test 8080 ");
    check("GET http://[fe80::1]/", "GET / None fe80::1 80 ");
    for wrong in ["", "connect a.test", "connect a.test:99999", "GET a.test/", "GET ftp://a.test/", "GET https:///x"] {
        check(wrong, "refused");
    }
}

#[test]
fn a_file_is_refused_with_line_and_column() {
    let check = |text: &str, place: &str, words: &str| {
        let error = cases::parse(text).expect_err(text);
        assert!(error.contains(place) && error.contains(words), "{text}: {error}");
    };
    check("cases: []", "", "no case");
    check("cases:\n  - {ask: GET https://a.test/}", "line 2", "expect");
    check("cases:\n  - ask: GET https://a.test/\n    expect: allowed x\n", "line 3", "allowed x");
    check("cases:\n  - ask: x\n    expct: deny\n", "line 3", "expct");
    check("cases:\n  - ask: x\n    expect: {rul: a}\n", "line 3", "rul");
    check("case: []\n", "line 1", "case");
}

#[test]
fn expectations_have_a_short_and_a_long_form() {
    let text = "
cases:
  - {ask: GET https://a.test/, expect: deny read-only}
  - {ask: GET https://a.test/, headers: {B: 1, a: x}, expect: {verdict: allow, credential: github, redact: true}}
";
    let cases = cases::parse(text).expect("cases").cases;
    let first = &cases[0].value.expect.value.0;
    assert_eq!((first.verdict, first.rule.as_deref()), (Some(Kind::Deny), Some("read-only")));
    let second = &cases[1].value;
    assert_eq!(second.headers.0, [("B".to_owned(), "1".to_owned()), ("a".to_owned(), "x".to_owned())]);
    let expect = &second.expect.value.0;
    assert_eq!((expect.verdict, expect.credential.as_deref()), (Some(Kind::Allow), Some("github")));
    assert_eq!(expect.redact, Some(true));
    assert_eq!((cases[1].referenced.line(), cases[1].referenced.column()), (4, 5));
}
