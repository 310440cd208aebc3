//! Rules files: any text is understood or refused, and what is understood answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openshell_policy_sdk::{Capture, Connect as _, Connection, HttpRequest, Process, Request as _, Scheme, testing};
use openshell_rules::Rules;

fuzz_target!(|yaml: &str| {
    let settings = serde_json::json!({ "yaml": yaml }).to_string();
    let Ok(rules) = testing::configure::<Rules>(&settings) else { return };
    let process = Process { executable: "/usr/bin/curl".into(), digest: "0".repeat(64), script: None };
    let connection =
        Connection { sandbox: "demo".into(), process, host: "api.demo.test".into(), port: 443, capture: Capture::Tunnel };
    let request = HttpRequest { method: "GET".into(), scheme: Scheme::Https, path: "/a/b".into(), query: None };
    let _ = (rules.connect(&connection), rules.request(&connection, &request));
});
