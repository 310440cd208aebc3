//! A policy's way on the author's machine: new → test → build → inspect, with the real compiler.

mod common;

use common::Home;
use serde_json::{Value, json};

#[test]
fn a_new_policy_passes_its_tests_and_is_a_policy() {
    let home = Home::new();
    let run = |arguments: &[&str]| {
        let ran = home.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.whole());
        ran.stdout
    };
    let json_of = |arguments: &[&str]| -> Value { serde_json::from_str(&run(arguments)).expect("JSON") };

    let created = json_of(&["policy", "new", "my-policy", "-o", "json"]);
    assert_eq!(created["name"], "my-policy");
    assert_eq!(created["sdk"], format!("HOME/data/openshell/sdk/{}/guest", env!("CARGO_PKG_VERSION")));

    let tested = run(&["policy", "test", "my-policy"]);
    assert!(tested.contains("test tests::reads_one_host ... ok"), "{tested}");

    let built = json_of(&["policy", "build", "my-policy", "--out", "my-policy.wasm", "-o", "json"]);
    assert_eq!((&built["name"], &built["version"]), (&json!("my-policy"), &json!("0.1.0")));

    let inspected = json_of(&["policy", "inspect", "my-policy.wasm", "-o", "json"]);
    assert_eq!(inspected["digest"], built["digest"]);
    assert_eq!(inspected["hooks"], json!(["request"]));
    assert_eq!(inspected["pure_verdicts"], true);
    assert_eq!(inspected["settings_schema"]["properties"]["host"]["type"], "string");

    // A second one uses the sources that are there.
    run(&["policy", "new", "other", "--name", "second"]);
    let manifest = std::fs::read_to_string(home.path().join("other/Cargo.toml")).expect("read");
    assert!(manifest.contains("name = \"second\""), "{manifest}");
}
