//! Rows: rules and what is asked for, rules and their difference; claims and what is said of them.

use openshell_api::proposal::Propose;
use serde_json::json;

use super::check::{dangers, shape};
use super::rules::add;

fn asked(endpoints: serde_json::Value) -> Propose {
    serde_json::from_value(json!({ "reason": "to work", "endpoints": endpoints })).expect("a proposal")
}

fn curl() -> Vec<String> {
    vec!["/usr/bin/curl".to_owned()]
}

const ADDED: &str = "\
+  proposal-1:
+    endpoints:
+      - host: \"a.test\"
+        port: 443
+        protocol: rest
+        access: read-only
+    binaries:
+      - path: \"/usr/bin/curl\"
";

#[test]
fn lines_are_added_and_nothing_else_changes() {
    let one = asked(json!([{ "host": "a.test" }]));
    let block = "network_policies:\n  b:\n    endpoints: [{host: b.test, port: 443}]\n    binaries: [{path: /b}]\n";
    for (rules, expected) in [
        (None, format!("@@ -0,0 +1,10 @@\n+version: 1\n+network_policies:\n{ADDED}")),
        (Some("version: 1\n".to_owned()), format!("@@ -1,1 +1,10 @@\n version: 1\n+network_policies:\n{ADDED}")),
        (
            Some("version: 1\nnetwork_policies: {} # none\nprocess: {}\n".to_owned()),
            format!(
                "@@ -1,3 +1,11 @@\n version: 1\n-network_policies: {{}} # none\n+network_policies:\n{ADDED} process: {{}}\n"
            ),
        ),
        (
            Some(format!("version: 1\n{block}# of processes\nprocess: {{}}\n")),
            format!(
                "@@ -3,5 +3,13 @@\n   b:\n     endpoints: [{{host: b.test, port: 443}}]\n     binaries: [{{path: /b}}]\n{ADDED} # of processes\n process: {{}}\n"
            ),
        ),
        (
            Some(format!("{block}version: 1")),
            format!(
                "@@ -2,4 +2,12 @@\n   b:\n     endpoints: [{{host: b.test, port: 443}}]\n     binaries: [{{path: /b}}]\n{ADDED} version: 1\n"
            ),
        ),
    ] {
        let edited = add(rules.as_deref(), "proposal-1", &one, &curl()).expect("editable");
        assert_eq!(edited.diff, expected, "{rules:?}");
    }
    for rules in [
        "{version: 1, network_policies: {}}",
        "version: 1\nnetwork_policies: {b: {endpoints: []}}\n",
        "version: 1\nnetwork_policies: &a\n  b: 1\n",
        "version: 1\nnetwork_policies:\n  proposal-1: {}\n",
        "version: 1\nnote: |\n network_policies:\n",
        "version: [1\n",
        "- version: 1\n",
    ] {
        let edited = add(Some(rules), "proposal-1", &one, &curl());
        match rules.contains("note") {
            // A key that only looks like one inside a text is none; a real one is written behind it.
            true => assert!(edited.expect("editable").text.ends_with("- path: \"/usr/bin/curl\"\n")),
            false => assert!(edited.is_err(), "{rules}: {edited:?}"),
        }
    }
}

#[test]
fn everything_that_is_asked_for_is_written_and_nothing_breaks_out() {
    let mut full = asked(json!([
        { "host": "*.a.test", "port": 8443, "access": "read-write", "allow": [{ "method": "DELETE", "path": "/x/\"}]: #" }],
          "allowed_ips": ["10.0.0.0/8"] },
        { "host": "b.test", "protocol": "tcp" },
    ]));
    full.reason = "network_policies:\n  evil: {}".to_owned();
    let binaries = vec!["/opt/a b: #\"".to_owned()];
    let text = add(Some("version: 1\nnetwork_policies:\n    b: 1\n"), "p", &full, &binaries).expect("editable").text;
    let read: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
    assert_eq!(
        read["network_policies"],
        json!({ "b": 1, "p": {
            "endpoints": [
                { "host": "*.a.test", "port": 8443, "protocol": "rest", "access": "read-write",
                  "rules": [{ "allow": { "method": "DELETE", "path": "/x/\"}]: #" } }], "allowed_ips": ["10.0.0.0/8"] },
                { "host": "b.test", "port": 443, "protocol": "tcp" },
            ],
            "binaries": [{ "path": "/opt/a b: #\"" }],
        } })
    );
    assert!(!text.contains("evil"), "an agent's words are none of the rules: {text}");
}

#[test]
fn dangers_have_names() {
    for (endpoint, expected) in [
        (json!({ "host": "api.github.com" }), ""),
        (json!({ "host": "*.api.github.com" }), ""),
        (json!({ "host": "169.254.169.254", "port": 80 }), "metadata service"),
        (json!({ "host": "[fd00:ec2::254]" }), "metadata service"),
        (json!({ "host": "metadata.google.internal", "port": 80 }), "metadata service"),
        (json!({ "host": "10.1.2.3" }), "a private address"),
        (json!({ "host": "127.0.0.1" }), "a private address"),
        (json!({ "host": "[::ffff:192.168.0.1]" }), "a private address"),
        (json!({ "host": "100.64.0.1" }), "a private address"),
        (json!({ "host": "93.184.216.34" }), "address without a name"),
        (json!({ "host": "db" }), "a private name"),
        (json!({ "host": "db.corp" }), "a private name"),
        (json!({ "host": "x.y.internal" }), "a private name"),
        (json!({ "host": "**.com" }), "a whole top-level domain"),
        (json!({ "host": "*.co.uk" }), "anybody may have a name"),
        (json!({ "host": "*.github.io" }), "anybody may have a name"),
        (json!({ "host": "*.core.windows.net" }), "anybody may have a name"),
        (json!({ "host": "*.s3.amazonaws.com" }), "anybody may have a name"),
        (json!({ "host": "**.example.com" }), "any depth"),
        (json!({ "host": "xn--githb-1ra.com" }), "may look like another"),
        (json!({ "host": "a.test", "protocol": "tcp" }), "unjudged"),
        (json!({ "host": "a.test", "allowed_ips": ["10.0.0.0/8"] }), "private addresses in 10.0.0.0/8"),
        (json!({ "host": "a.test", "allowed_ips": ["169.254.0.0/16"] }), "metadata service's address"),
        (json!({ "host": "a.test", "access": "full" }), "DELETE included"),
    ] {
        let proposal = asked(json!([endpoint]));
        shape(&proposal).expect("well formed");
        let found = dangers(&proposal, &curl()).join("; ");
        assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{endpoint}: {found}");
    }
    let proposal = asked(json!([{ "host": "a.test" }]));
    assert!(dangers(&proposal, &["/**".to_owned()])[0].contains("stands for many"));
}

#[test]
fn what_no_rules_could_say_is_refused() {
    for (proposal, expected) in [
        (json!({ "reason": " ", "endpoints": [{ "host": "a.test" }] }), "`reason` has"),
        (json!({ "reason": "a\u{1b}[2J", "endpoints": [{ "host": "a.test" }] }), "`reason` has"),
        (json!({ "reason": "a\u{202e}b", "endpoints": [{ "host": "a.test" }] }), "`reason` has"),
        (json!({ "reason": "x".repeat(1001), "endpoints": [{ "host": "a.test" }] }), "`reason` has"),
        (json!({ "reason": "r", "endpoints": [] }), "1 to 20 endpoints"),
        (json!({ "reason": "r", "endpoints": vec![json!({ "host": "a.test" }); 21] }), "1 to 20 endpoints"),
        (json!({ "reason": "r", "endpoints": [{ "host": "**" }] }), "is no host"),
        (json!({ "reason": "r", "endpoints": [{ "host": "a.*.test" }] }), "is no host"),
        (json!({ "reason": "r", "endpoints": [{ "host": "https://a.test/" }] }), "is no host"),
        (json!({ "reason": "r", "endpoints": [{ "host": "a.test:80" }] }), "is no host"),
        (json!({ "reason": "r", "endpoints": [{ "host": "Policy.Local" }] }), "answered by the sandbox itself"),
        (json!({ "reason": "r", "endpoints": [{ "host": "a.test", "port": 0 }] }), "1 to 65535"),
        (
            json!({ "reason": "r", "endpoints": [{ "host": "a.test", "protocol": "tcp", "access": "full" }] }),
            "no request is judged",
        ),
        (
            json!({ "reason": "r", "endpoints": [{ "host": "a.test", "access": "full", "allow": [{ "method": "GET", "path": "/" }] }] }),
            "changes nothing",
        ),
        (
            json!({ "reason": "r", "endpoints": [{ "host": "a.test", "allow": [{ "method": "get", "path": "/" }] }] }),
            "capitals",
        ),
        (
            json!({ "reason": "r", "endpoints": [{ "host": "a.test", "allow": [{ "method": "GET", "path": "x" }] }] }),
            "capitals",
        ),
        (json!({ "reason": "r", "endpoints": [{ "host": "a.test", "allowed_ips": ["everything"] }] }), "no range"),
        (json!({ "reason": "r", "endpoints": [{ "host": "a.test" }], "binaries": ["curl"] }), "no absolute path"),
    ] {
        let parsed: Propose = serde_json::from_value(proposal.clone()).expect("a proposal");
        let refused = shape(&parsed).expect_err("it is refused").0;
        assert_eq!((refused.status, refused.code.as_str()), (422, "bad_proposal"));
        assert!(refused.detail.contains(expected), "{proposal}: {}", refused.detail);
    }
}
