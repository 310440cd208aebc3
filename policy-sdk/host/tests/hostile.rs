//! Modules that do everything but answer. Each denies with a reason of its own, and hurts nobody else.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::*;
use openshell_policy_host::*;

const ALLOW: &str = "(func $decide (result i32) (call $allow))";
/// Traps when the host's name begins with `b`.
const MOODY: &str = "(func $decide (result i32)
    (if (i32.eq (i32.load8_u (global.get $host)) (i32.const 98)) (then (unreachable)))
    (call $allow))";

#[test]
fn every_non_answer_denies_with_its_own_reason() {
    let innocent = load(ALLOW, &[Hook::Connect], LoadOptions { memo_bytes: 0, ..options("innocent") });
    let view: Arc<dyn View> = Arc::new(Seen { body: Some(Bytes::from(vec![0; 100 << 10])), ..Seen::default() });
    for (name, kind, words) in [
        ("endless-loop", "deadline", "no answer within 50 ms"),
        ("trap", "trap", "unreachable"),
        ("division", "trap", "divide by zero"),
        ("panic", "trap", "policy trapped: the index is out of bounds"),
        ("memory-bomb", "memory", "more than 16777216 bytes"),
        ("giant-answer", "memory", "more than 16777216 bytes"),
        ("endless-host-call", "deadline", "no answer within 50 ms"),
        ("deep-recursion", "trap", "call stack exhausted"),
        ("host-call-storm", "host_calls", "more than 10000 calls"),
        ("body-storm", "host_calls", "more than 16777216 bytes"),
        ("log-flood", "host_calls", "more than 16777216 bytes"),
        ("lying-tag", "output", "discriminant"),
        ("lying-pointer", "output", "out of bounds"),
        ("lying-length", "output", "out of bounds"),
        ("bad-utf8", "output", "utf-8"),
        ("huge-answer", "output", "more than 65536 bytes of text"),
        ("amplified-answer", "output", "fuel"),
        ("bad-range", "output", "`open` is not a CIDR range"),
        ("forbidden-header", "output", "header `content-length` is not a policy's to edit"),
        ("bad-realloc", "output", "realloc"),
        ("counter-window", "host_calls", "counter window of 0 s"),
    ] {
        let deadline = if kind == "deadline" { Duration::from_millis(50) } else { Duration::from_secs(60) };
        for reuse in [0, 1000] {
            let policy = load(&hostile(name), &[Hook::Connect], LoadOptions { deadline, reuse, ..options(name) });
            let answer = policy.connect(&connection("a.test"), &view);
            let failure = answer.result.expect_err(name);
            assert_eq!(failure.kind(), kind, "{name}: {failure}");
            assert!(failure.to_string().contains(words), "{name}: {failure}");
            assert_eq!(policy.stats().failures.get(kind), Some(&1), "{name}");

            let chains = Chains { own: vec![innocent.clone(), policy], ..Chains::default() };
            let decision = chains.connect(&connection("a.test"), &view);
            assert_eq!(decision.outcome, Outcome::Failed(failure), "{name}");
            assert_eq!(show(&innocent.connect(&connection("a.test"), &view)), "allow", "beside {name}");
        }
    }
}

#[test]
fn a_failing_policy_is_quarantined_and_the_others_are_not() {
    let options = LoadOptions {
        quarantine: Quarantine { after: 3, cooldown: Duration::from_secs(3600) },
        memo_bytes: 0,
        ..options("moody")
    };
    let (moody, calm) = (load(MOODY, &[Hook::Connect], options.clone()), load(MOODY, &[Hook::Connect], options));
    for _ in 0..3 {
        assert_eq!(show(&moody.connect(&connection("bad.test"), &nothing())), "trap");
    }
    assert!(moody.stats().quarantined);
    for host in ["bad.test", "good.test"] {
        let failure = moody.connect(&connection(host), &nothing()).result.unwrap_err();
        assert_eq!(failure.kind(), "quarantined");
        assert!(failure.to_string().contains("after 3 failures in a row; last: policy trapped"), "{failure}");
    }
    assert_eq!(show(&calm.connect(&connection("good.test"), &nothing())), "allow");
}

#[test]
fn a_quarantined_policy_comes_back_when_it_answers_again() {
    let quarantine = Quarantine { after: 2, cooldown: Duration::ZERO };
    let moody = load(MOODY, &[Hook::Connect], LoadOptions { quarantine, memo_bytes: 0, ..options("moody") });
    for (host, expected, quarantined) in [
        ("bad.test", "trap", false),
        ("good.test", "allow", false),
        ("bad.test", "trap", false),
        ("bad.test", "trap", true),
        ("bad.test", "trap", true),
        ("good.test", "allow", false),
        ("good.test", "allow", false),
    ] {
        assert_eq!(show(&moody.connect(&connection(host), &nothing())), expected);
        assert_eq!(moody.stats().quarantined, quarantined);
    }
}

#[test]
fn a_reused_instance_that_failed_is_thrown_away() {
    // Says how often it was asked, by way of its reason's length; traps for hosts with `b`.
    let fragment = "(global $asked (mut i32) (i32.const 0))
        (func $decide (result i32)
            (global.set $asked (i32.add (global.get $asked) (i32.const 1)))
            (if (i32.eq (i32.load8_u (global.get $host)) (i32.const 98)) (then (unreachable)))
            (call $deny (i32.const 64) (global.get $asked)))";
    for (reuse, expected) in [
        (0, ["deny o", "deny o", "trap", "deny o", "deny o"]),
        (100, ["deny o", "deny op", "trap", "deny o", "deny op"]),
        (2, ["deny o", "deny op", "trap", "deny o", "deny op"]),
    ] {
        let policy = load(fragment, &[Hook::Connect], LoadOptions { reuse, memo_bytes: 0, ..options("counting") });
        let hosts = ["a.test", "a.test", "b.test", "a.test", "a.test"];
        let found = hosts.map(|host| show(&policy.connect(&connection(host), &nothing())));
        assert_eq!(found, expected, "reuse {reuse}");
    }
}

#[test]
fn what_is_slow_and_legal_is_heard() {
    for (name, reuse) in [("slow-but-legal", 0), ("slow-but-legal", 1000), ("start-work", 0), ("start-work", 1000)] {
        let policy = load(&hostile(name), &[Hook::Connect], LoadOptions { reuse, ..options(name) });
        for _ in 0..2 {
            assert_eq!(show(&policy.connect(&connection("a.test"), &nothing())), "allow", "{name}");
        }
    }
}

#[test]
fn what_grows_with_every_question_ends_with_its_instance() {
    let policy = |reuse| {
        load(&hostile("growing-state"), &[Hook::Connect], LoadOptions { reuse, memo_bytes: 0, ..options("growing") })
    };
    let ask =
        |policy: &Policy| (0..40).map(|_| show(&policy.connect(&connection("a.test"), &nothing()))).collect::<Vec<_>>();
    assert!(ask(&policy(0)).iter().all(|answer| answer == "allow"), "a fresh instance has grown no further than once");
    let reused = ask(&policy(1000));
    let failed = reused.iter().filter(|answer| *answer == "memory").count();
    assert!((1..=3).contains(&failed), "an instance is thrown away when it hits its limit: {reused:?}");
    assert_eq!(reused.iter().filter(|answer| *answer == "allow").count(), 40 - failed);
}

#[test]
fn what_cannot_be_configured_is_not_compiled() {
    for (name, words) in [
        ("configure-endless", "`configure` failed: policy gave no answer within 5000 ms"),
        ("configure-trap", "`configure` failed: policy trapped: wasm `unreachable` instruction executed"),
        ("configure-memory-bomb", "`configure` failed: policy wanted more than 16777216 bytes of memory"),
        ("configure-refuses", "module refuses the settings: no such host"),
        ("start-section", "`configure` failed: policy gave no answer within 5000 ms"),
        ("wrong-example", "example 0: expected deny, got allow"),
    ] {
        let error = compile(&component(&hostile(name), &[Hook::Connect])).expect_err(name);
        assert_eq!(error.to_string(), words, "{name}");
    }
}

#[test]
fn what_the_schema_refuses_never_reaches_the_module() {
    let component = component(ALLOW, &[Hook::Connect]);
    let error = COMPILER.compile(&component, "demo", "1.0.0", &serde_json::json!([1]), &key()).unwrap_err();
    assert_eq!(error.to_string(), "settings: [1] is not of type \"object\"");
}

#[test]
fn what_is_no_policy_is_refused() {
    let wat = |text: &str| wat::parse_str(text).unwrap();
    for (bytes, words) in [
        (b"#!/bin/sh\n".to_vec(), "not a WebAssembly file"),
        (Vec::new(), "not a WebAssembly file"),
        (wat("(module)"), "this is a core WebAssembly module, not a component"),
        (wat("(component)"), "module does not export `configure` of openshell:policy@0.1.0"),
        (
            wat("(component (import \"wasi:sockets/tcp@0.2.0\" (instance)))"),
            "module imports `wasi:sockets/tcp@0.2.0`, which no policy may",
        ),
        (
            wat("(component (import \"openshell:policy/files@0.1.0\" (instance)))"),
            "module imports `openshell:policy/files@0.1.0`, which no policy may",
        ),
        (
            wat("(component (import \"openshell:policy/view@9.0.0\" (instance)))"),
            "module speaks contract `openshell:policy@9.0.0`, which is unknown here",
        ),
        (
            wat("(component (instance $i) (export \"openshell:policy/configure@0.1.0\" (instance $i)))"),
            "module exports no hook of openshell:policy@0.1.0",
        ),
        (vec![0; (64 << 20) + 1], "module has 67108865 bytes; the limit is 67108864"),
    ] {
        let error = check(&bytes).expect_err(words);
        assert_eq!(error.to_string(), words);
        assert!(error.hint().is_some(), "{words}");
    }
    let mut broken = component(ALLOW, &[Hook::Connect]);
    broken.truncate(broken.len() / 2);
    assert!(matches!(check(&broken), Err(CheckError::Invalid { .. })), "half a component");
}

#[test]
fn a_component_without_the_contracts_types_is_refused() {
    let text = "(component (instance $i)
        (export \"openshell:policy/configure@0.1.0\" (instance $i))
        (export \"openshell:policy/connect@0.1.0\" (instance $i)))";
    let error = compile(&wat::parse_str(text).unwrap()).unwrap_err();
    assert!(matches!(error, CompileError::Bake(BakeError::Instantiate { .. })), "{error}");
}

#[test]
fn what_cannot_be_snapshotted_is_refused() {
    // Wizer has no way to write down a vector global.
    let fragment = "(global $wide (mut v128) (v128.const i64x2 0 0))
        (func $decide (result i32) (global.set $wide (v128.const i64x2 1 1)) (call $allow))";
    let error = compile(&component(fragment, &[Hook::Connect])).unwrap_err();
    assert!(matches!(error, CompileError::Bake(BakeError::Snapshot { .. })), "{error}");
    // Nor for a table that grows: a module that can do that never gets as far as a sandbox.
    let error = compile(&component(&hostile("table-bomb"), &[Hook::Connect])).unwrap_err();
    assert!(matches!(error, CompileError::Bake(BakeError::Snapshot { .. })), "{error}");
}
