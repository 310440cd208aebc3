//! A policy's way on the author's machine: new → test → build → inspect, with the real compiler.

mod common;

use common::{Home, Ran};
use serde_json::{Value, json};

/// Runs it with one target folder for all policies: what they depend on is compiled once.
fn run(home: &Home, arguments: &[&str]) -> Ran {
    let mut command = home.command(arguments);
    command.env("CARGO_TARGET_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/new-policies"));
    home.finish(command.output().expect("the binary runs"))
}

#[test]
fn a_new_policy_passes_its_tests_and_is_a_policy() {
    let home = Home::new();
    let done = |arguments: &[&str]| {
        let ran = run(&home, arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.whole());
        ran.stdout
    };
    let json_of = |arguments: &[&str]| -> Value { serde_json::from_str(&done(arguments)).expect("JSON") };

    let created = json_of(&["policy", "new", "my-policy", "-o", "json"]);
    assert_eq!(created["name"], "my-policy");
    assert_eq!(created["sdk"], format!("HOME/data/openshell/sdk/{}/guest", env!("CARGO_PKG_VERSION")));

    let tested = done(&["policy", "test", "my-policy"]);
    assert!(tested.contains("test tests::reads_one_host ... ok"), "{tested}");
    assert!(tested.contains("case a write is refused, and told what to do ... ok"), "{tested}");
    assert!(tested.contains("cases: 4 passed, 0 failed"), "{tested}");

    let built = json_of(&["policy", "build", "my-policy", "--out", "my-policy.wasm", "-o", "json"]);
    assert_eq!((&built["name"], &built["version"]), (&json!("my-policy"), &json!("0.1.0")));

    let inspected = json_of(&["policy", "inspect", "my-policy.wasm", "-o", "json"]);
    assert_eq!(inspected["digest"], built["digest"]);
    assert_eq!(inspected["hooks"], json!(["request"]));
    assert_eq!(inspected["pure_verdicts"], true);
    assert_eq!(inspected["settings_schema"]["properties"]["host"]["type"], "string");

    // The component alone can be asked, too; a wrong expectation says where it stands.
    let cases = std::fs::read_to_string(home.path().join("my-policy/cases.yaml")).expect("read");
    let wrong = cases.replace("expect: deny curl-only", "expect: allow read-only").replace("hint: use GET", "hint: xx");
    std::fs::write(home.path().join("wrong.yaml"), &wrong).expect("written");
    let ran = home.run(&["policy", "test", "my-policy.wasm", "--cases", "wrong.yaml"]);
    assert_eq!(ran.code, 1, "{}", ran.whole());
    for expected in [
        "wrong.yaml:10:5: expected allow read-only, got deny curl-only",
        "wrong.yaml:7:5: hint: expected a part \"xx\", got \"use GET\"",
        "cases: 2 passed, 2 failed",
    ] {
        assert!(ran.stdout.contains(expected), "{expected} in {}", ran.whole());
    }
    std::fs::write(home.path().join("bad.yaml"), "cases:\n  - ask: GET https://a.test/\n    expct: deny\n")
        .expect("written");
    let ran = home.run(&["policy", "test", "my-policy.wasm", "--cases", "bad.yaml"]);
    assert_eq!(ran.code, 1, "{}", ran.whole());
    assert!(ran.stderr.starts_with("error: bad.yaml: ") && ran.stderr.contains("line 3"), "{}", ran.stderr);
    assert!(ran.stdout.is_empty(), "nothing is half done: {}", ran.stdout);

    let bench = json_of(&["policy", "bench", "my-policy", "--decisions", "50", "-o", "json"]);
    assert_eq!(bench["answer"], "allow read-only");
    assert_eq!(bench["rows"].as_array().map(Vec::len), Some(3), "{bench}");

    // A panic's text arrives although the policy imports nothing to tell it by.
    let source = home.path().join("my-policy/src/lib.rs");
    let text = std::fs::read_to_string(&source).expect("read");
    let hook = "let program = connection.process.file_name();";
    assert!(text.contains(hook), "{text}");
    let panics = format!("{hook} assert_ne!(request.path, \"/boom\", \"no path {{}} here\", request.path);");
    std::fs::write(source, text.replace(hook, &panics)).expect("written");
    let built = json_of(&["policy", "build", "my-policy", "--out", "panics.wasm", "-o", "json"]);
    assert_eq!(built["imports"], json!([]));
    let boom = "cases: [{ask: GET https://example.com/boom by /usr/bin/curl, expect: allow read-only}]\n";
    std::fs::write(home.path().join("boom.yaml"), boom).expect("written");
    let ran = run(&home, &["policy", "test", "panics.wasm", "--cases", "boom.yaml"]);
    assert_eq!(ran.code, 1, "{}", ran.whole());
    for expected in ["panicked at src/lib.rs:", "no path /boom here"] {
        assert!(ran.stdout.contains(expected), "{expected} in {}", ran.whole());
    }

    // A second one uses the sources that are there.
    done(&["policy", "new", "other", "--name", "second"]);
    let manifest = std::fs::read_to_string(home.path().join("other/Cargo.toml")).expect("read");
    assert!(manifest.contains("name = \"second\""), "{manifest}");
}

#[test]
fn every_template_passes_its_own_tests() {
    let home = Home::new();
    for (template, expected) in [
        ("connect", "cases: 5 passed, 0 failed"),
        ("rate-limit", "cases: 3 passed, 0 failed"),
        ("router", "cases: 4 passed, 0 failed"),
        ("redact", "cases: 2 passed, 0 failed"),
    ] {
        let created = home.run(&["policy", "new", template, "--template", template]);
        assert_eq!(created.code, 0, "{template}: {}", created.whole());
        let tested = run(&home, &["policy", "test", template]);
        assert_eq!(tested.code, 0, "{template}: {}", tested.whole());
        assert!(tested.stdout.contains(expected), "{template}: {}", tested.whole());
    }
}
