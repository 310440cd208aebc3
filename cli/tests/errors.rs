//! A fact, then a hint, on standard error; exit code 1; nothing on standard output.

mod common;

use common::{Home, Ran};

fn check(name: &str, ran: &Ran) {
    assert_eq!(ran.code, 1, "{name}: {}", ran.whole());
    assert_eq!(ran.stdout, "", "{name}");
    assert!(ran.stderr.starts_with("error: "), "{name}: {}", ran.stderr);
    assert!(ran.stderr.contains("\nhint: "), "{name}: {}", ran.stderr);
    insta::assert_snapshot!(name, ran.whole());
}

#[test]
fn without_a_gateway() {
    let home = Home::new();
    for (name, words) in [
        ("no-gateway-status", &["status"][..]),
        ("no-gateway-stop", &["gateway", "stop"]),
        ("no-gateway-exec", &["sandbox", "exec", "demo", "--", "true"]),
        ("no-gateway-decisions", &["decisions", "-o", "json"]),
        ("no-gateway-set", &["policy", "set", "demo", "--policy", "/dev/null"]),
        ("remote-incomplete", &["status", "--gateway", "https://gateway.test"]),
        ("stop-remote", &["gateway", "stop", "--gateway", "https://gateway.test"]),
    ] {
        check(name, &home.run(words));
    }
}

#[test]
fn with_an_endpoint_file_that_lies() {
    let home = Home::new();
    let state = home.path().join("state/openshell/gateway");
    std::fs::create_dir_all(&state).expect("created");
    let endpoint = |text: &str| std::fs::write(state.join("endpoint.json"), text).expect("written");

    endpoint("{");
    check("endpoint-damaged", &home.run(&["status"]));

    // This test's own process is certainly not the gateway.
    let us = std::process::id();
    endpoint(&format!(
        r#"{{"url":"https://127.0.0.1:1","ca":"/nowhere","token_file":"/nowhere","pid":{us},"version":"0.1.0"}}"#
    ));
    let ran = home.run(&["gateway", "stop"]);
    assert_eq!(ran.code, 1, "{}", ran.whole());
    assert!(ran.stderr.starts_with(&format!("error: process {us} is not the gateway")), "{}", ran.stderr);
}

#[test]
fn policies_that_are_none() {
    let home = Home::new();
    let write = |file: &str, bytes: &[u8]| std::fs::write(home.path().join(file), bytes).expect("written");
    write("text.wasm", b"not wasm at all");
    write("core.wasm", b"\0asm\x01\0\0\0");
    std::fs::create_dir(home.path().join("empty")).expect("created");
    for (name, words) in [
        ("inspect-missing", &["policy", "inspect", "nowhere.wasm"][..]),
        ("inspect-text", &["policy", "inspect", "text.wasm"]),
        ("inspect-core-module", &["policy", "inspect", "core.wasm"]),
        ("test-no-crate", &["policy", "test", "empty"]),
        ("new-bad-name", &["policy", "new", "1st"]),
    ] {
        check(name, &home.run(words));
    }
    std::fs::create_dir_all(home.path().join("taken/src")).expect("created");
    check("new-taken", &home.run(&["policy", "new", "taken"]));
}
