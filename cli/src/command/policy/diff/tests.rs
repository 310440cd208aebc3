//! Rows: questions, and what lies near.

use super::*;

fn question(line: &str) -> Question {
    Question::parse(line).expect(line)
}

#[test]
fn questions_are_written_as_they_are_read() {
    for line in [
        "GET https://api.test/a/b?c=d by /usr/bin/curl",
        "POST http://api.test:8080/",
        "connect api.test:443 by /usr/bin/git",
        "connect [::1]:443",
    ] {
        assert_eq!(seeds::line(&question(line)), line);
    }
}

#[test]
fn neighbours_differ_in_one_thing() {
    let start = question("GET https://api.test/a/b by /usr/bin/curl");
    let near: Vec<String> = neighbours::of(&start).iter().map(seeds::line).collect();
    for expected in [
        "POST https://api.test/a/b by /usr/bin/curl",
        "GET https://x.api.test/a/b by /usr/bin/curl",
        "GET https://xapi.test/a/b by /usr/bin/curl",
        "GET https://api.test/a by /usr/bin/curl",
        "GET https://api.test/a/b/x by /usr/bin/curl",
        "GET https://api.test/a/b by /usr/bin/git",
        "GET https://api.test/a/b?a=1 by /usr/bin/curl",
        "GET https://api.test:444/a/b by /usr/bin/curl",
        "connect api.test:443 by /usr/bin/curl",
    ] {
        assert!(near.iter().any(|line| line == expected), "{expected} in {near:#?}");
    }
    assert!(!near.contains(&seeds::line(&start)));
}

#[test]
fn rules_say_what_they_are_about() {
    let yaml = "version: 1
network_policies:
  api:
    endpoints:
      - {host: '*.api.test', ports: [443, 8443], protocol: rest, rules: [{allow: {method: PUT, path: '/a/**'}}], deny_rules: [{method: '*', path: /b}]}
    binaries: [{path: /usr/bin/curl}]
";
    let lines: Vec<String> = seeds::of_rules(yaml).iter().map(seeds::line).collect();
    for expected in [
        "connect x.api.test:443 by /usr/bin/curl",
        "PUT https://x.api.test/a/x by /usr/bin/curl",
        "GET https://x.api.test:8443/b by /usr/bin/curl",
        "GET https://x.api.test/ by /usr/bin/curl",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{expected} in {lines:#?}");
    }
    assert!(seeds::of_rules("nonsense: [").is_empty());
}
