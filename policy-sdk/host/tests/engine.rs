//! The engine with policies that behave.

mod common;

use std::sync::Arc;
use std::thread;

use common::*;
use openshell_policy_host::*;

const ALLOW: &str = "(func $decide (result i32) (call $allow))";
/// Allows when header `open` is present, else denies with reason `shut`.
const BY_HEADER: &str = "
    (import \"openshell:policy/view@0.1.0\" \"header\" (func $header (param i32 i32 i32)))
    (func $decide (result i32)
        (call $header (i32.const 64) (i32.const 4) (i32.const 256))
        (if (result i32) (i32.load8_u (i32.const 256))
            (then (call $allow))
            (else (call $deny (i32.const 68) (i32.const 4)))))";
/// Denies with a reason of as many letters as it counts within a minute.
const COUNTS: &str = "
    (import \"openshell:policy/counters@0.1.0\" \"add\" (func $add (param i32 i32 i64 i32) (result i64)))
    (func $decide (result i32)
        (call $deny (i32.const 64)
            (i32.wrap_i64 (call $add (i32.const 64) (i32.const 4) (i64.const 1) (i32.const 60)))))";
const TELLS_TIME: &str = "
    (import \"openshell:policy/clock@0.1.0\" \"now\" (func $now (result i64)))
    (func $decide (result i32) (if (i64.eqz (call $now)) (then (unreachable))) (call $allow))";
const LOGS: &str = "
    (import \"openshell:policy/log@0.1.0\" \"emit\" (func $emit (param i32 i32 i32)))
    (func $decide (result i32) (call $emit (i32.const 1) (i32.const 64) (i32.const 4)) (call $allow))";
/// Counts its calls in a global, baked or not, and denies with a reason that long.
const BAKED: &str = "
    (global $configured (mut i32) (i32.const 0))
    (func $configure (result i32)
        (global.set $configured (i32.const 3))
        (memory.fill (i32.const 512) (i32.const 0) (i32.const 32))
        (i32.store8 (i32.const 516) (i32.const 77))
        (i32.const 512))
    (func $decide (result i32) (call $deny (i32.const 64) (global.get $configured)))";

fn header(value: &str) -> Arc<dyn View> {
    Arc::new(Seen { header: Some(value.to_owned()), ..Seen::default() })
}

#[test]
fn a_component_says_what_it_is() {
    for (fragment, hooks, imports, pure) in [
        (ALLOW, &[Hook::Connect][..], &[][..], true),
        (BY_HEADER, &[Hook::Connect, Hook::Request], &["view"], true),
        (LOGS, &[Hook::Connect], &["log"], true),
        (COUNTS, &[Hook::Request], &["counters"], false),
        (TELLS_TIME, &[Hook::Connect], &["clock"], false),
    ] {
        let checked = check(&component(fragment, hooks)).unwrap();
        assert_eq!(checked.hooks.into_iter().collect::<Vec<_>>(), hooks);
        assert_eq!(checked.imports, imports);
        assert_eq!(checked.pure_verdicts, pure);
    }
}

#[test]
fn what_configure_did_is_in_the_artifact() {
    let compiled = compile(&component(BAKED, &[Hook::Connect])).unwrap();
    assert_eq!(compiled.manifest.body_cap, 77);
    let policy = ENGINE.load(&artifact(&compiled), options("baked")).unwrap();
    assert_eq!(show(&policy.connect(&connection("a.test"), &nothing())), "deny ope");
    assert_eq!(policy.reference().name_version, "demo@1.0.0");
    assert_eq!(policy.self_test(), Ok(0));
}

#[test]
fn the_same_bake_gives_the_same_artifact() {
    let component = component(BAKED, &[Hook::Connect]);
    assert_eq!(compile(&component).unwrap().digest, compile(&component).unwrap().digest);
}

#[test]
fn only_granted_imports_link() {
    let compiled = compile(&component(BY_HEADER, &[Hook::Connect])).unwrap();
    for (granted, expected) in [
        (&["view"][..], Ok(())),
        (&["view", "log"], Ok(())),
        (&["log"], Err(LoadError::NotGranted { import: "view".to_owned() })),
        (&[], Err(LoadError::NotGranted { import: "view".to_owned() })),
    ] {
        let loaded = ENGINE.load(&artifact(&compiled), LoadOptions::new("p", granted.iter().copied()));
        assert_eq!(loaded.map(drop), expected, "{granted:?}");
    }
}

#[test]
fn a_policy_that_needs_more_than_it_may_have_is_not_loaded() {
    let compiled = compile(&component(ALLOW, &[Hook::Connect])).unwrap();
    let small = LoadOptions { memory_bytes: 64 << 10, ..options("p") };
    let error = ENGINE.load(&artifact(&compiled), small).map(drop).unwrap_err();
    assert_eq!(error, LoadError::Memory { limit_bytes: 64 << 10 });
}

#[test]
fn a_pure_verdict_is_remembered_for_what_was_read() {
    let policy = load(BY_HEADER, &[Hook::Connect, Hook::Request], options("p"));
    let (here, there) = (connection("a.test"), connection("b.test"));
    let rows: [(&Connection, Arc<dyn View>, &str, bool); 8] = [
        (&here, nothing(), "deny shut", false),
        (&here, nothing(), "deny shut", true),
        (&here, header("1"), "allow", false),
        (&here, header("1"), "allow", true),
        (&here, header("2"), "allow", false),
        (&here, nothing(), "deny shut", true),
        (&there, nothing(), "deny shut", false),
        (&here, header("2"), "allow", true),
    ];
    for (row, (connection, view, expected, memoized)) in rows.iter().enumerate() {
        let answer = policy.connect(connection, view);
        assert_eq!((show(&answer).as_str(), answer.memoized), (*expected, *memoized), "row {row}");
    }
    for (path, memoized) in [("/a", false), ("/b", false), ("/a", true)] {
        assert_eq!(policy.request(&here, &get(path), &nothing()).memoized, memoized, "{path}");
    }
    assert_eq!(policy.stats().memo_hits, 5);
    assert_eq!(policy.stats().calls, 11);
}

#[test]
fn what_may_change_is_not_remembered() {
    for (fragment, reuse, memo_bytes) in
        [(COUNTS, 0, 1 << 20), (TELLS_TIME, 0, 1 << 20), (ALLOW, 5, 1 << 20), (ALLOW, 0, 0)]
    {
        let policy = load(fragment, &[Hook::Connect], LoadOptions { reuse, memo_bytes, ..options("p") });
        for _ in 0..3 {
            let answer = policy.connect(&connection("a.test"), &nothing());
            assert!(answer.result.is_ok() && !answer.memoized);
        }
    }
}

#[test]
fn a_remembered_verdict_is_not_logged_again() {
    let lines = Arc::new(Lines::default());
    let log: Arc<dyn LogSink> = Arc::clone(&lines) as _;
    let policy = load(LOGS, &[Hook::Connect], LoadOptions { log, ..options("loud") });
    for _ in 0..3 {
        assert_eq!(show(&policy.connect(&connection("a.test"), &nothing())), "allow");
    }
    assert_eq!(*lines.0.lock().unwrap(), ["loud Info open"]);
}

#[test]
fn counts_survive_a_swap_and_belong_to_the_binding() {
    let counters = Arc::new(Counters::new());
    let compiled = compile(&component(COUNTS, &[Hook::Connect])).unwrap();
    let bind = |binding: &str| {
        let options = LoadOptions { counters: Arc::clone(&counters), ..options(binding) };
        ENGINE.load(&artifact(&compiled), options).unwrap()
    };
    let (first, second, other) = (bind("limit"), bind("limit"), bind("other"));
    for (policy, expected) in
        [(&first, "deny o"), (&first, "deny op"), (&second, "deny ope"), (&other, "deny o"), (&first, "deny open")]
    {
        assert_eq!(show(&policy.connect(&connection("a.test"), &nothing())), expected);
    }
}

#[test]
fn chains_ask_the_hooks_that_are_there() {
    let connects = load(ALLOW, &[Hook::Connect], options("connects"));
    let requests = load(BY_HEADER, &[Hook::Request], options("requests"));
    let alone = Chains { own: vec![requests.clone()], ..Chains::default() };
    let both = Chains { ceiling: vec![requests], own: vec![connects], ..Chains::default() };
    let here = connection("a.test");

    let decision = alone.connect(&here, &nothing());
    assert!(matches!(decision.outcome, Outcome::Allow(Grant { inspection: Inspection::Required, .. })));
    assert_eq!(decision.by.unwrap().name_version, "demo@1.0.0");
    assert!(!decision.memoized, "nobody was asked");
    for chains in [&alone, &both] {
        let open = chains.request(&here, &get("/"), &header("1"));
        assert!(matches!(open.outcome, Outcome::Allow(_)));
        let shut = chains.request(&here, &get("/"), &nothing());
        assert!(matches!(shut.outcome, Outcome::Deny(denial) if denial.reason == "shut"));
        let response = chains.response(&here, &get("/"), HttpResponse { status: 200 }, &nothing());
        assert!(matches!(response.outcome, Outcome::Allow(_)), "nobody judges responses");
        assert!(chains.request(&here, &get("/"), &nothing()).memoized);
    }
    assert_eq!(Chains::default().connect(&here, &nothing()).outcome, Outcome::Unanswered);
    assert_eq!(Chains::default().request(&here, &get("/"), &nothing()).outcome, Outcome::Unanswered);
}

#[test]
fn a_body_is_wanted_by_who_will_ask_for_it() {
    // Declares a cap, and reads the body of requests to hosts with `b`.
    let reader = |more: &str| {
        format!(
            "(import \"openshell:policy/view@0.1.0\" \"body\" (func $body (param i32)))
            (import \"openshell:policy/clock@0.1.0\" \"now\" (func $now (result i64)))
            (func $configure (result i32)
                (memory.fill (i32.const 512) (i32.const 0) (i32.const 32))
                (i32.store (i32.const 516) (i32.const 1000))
                (i32.const 512))
            (func $decide (result i32)
                {more}
                (if (i32.eq (i32.load8_u (global.get $host)) (i32.const 98)) (then (call $body (i32.const 256))))
                (call $allow))"
        )
    };
    let load = |fragment: &str, memo: bool| {
        let memo_bytes = if memo { options("reader").memo_bytes } else { 0 };
        load(fragment, &[Hook::Request], LoadOptions { memo_bytes, ..options("reader") })
    };
    let pure = reader("").replace("(import \"openshell:policy/clock@0.1.0\" \"now\" (func $now (result i64)))", "");
    let (quick, timed) = (load(&pure, true), load(&reader("(drop (call $now))"), true));
    let trap = load("(func $decide (result i32) (unreachable))", true);
    for (policies, host, wanted) in [
        (vec![quick.clone()], "a.test", 0),
        (vec![quick.clone()], "b.test", 1000),
        (vec![quick.clone(), trap], "a.test", 0),
        (vec![timed], "a.test", 1000),
        (vec![load(&pure, false)], "a.test", 1000),
        (vec![], "b.test", 0),
    ] {
        let chains = Chains { own: policies, ..Chains::default() };
        assert_eq!(chains.body_wanted(&connection(host), &get("/"), &nothing()), wanted, "{host}");
    }
    let before = quick.stats().memo_hits;
    let chains = Chains { own: vec![quick.clone()], ..Chains::default() };
    assert_eq!(chains.body_wanted(&connection("a.test"), &get("/once"), &nothing()), 0);
    assert!(chains.request(&connection("a.test"), &get("/once"), &nothing()).memoized, "it is not asked twice");
    assert!(quick.stats().memo_hits > before);
}

#[test]
fn a_question_without_a_hook_is_no_answer() {
    let policy = load(ALLOW, &[Hook::Connect], options("p"));
    let failure = policy.request(&connection("a.test"), &get("/"), &nothing()).result.unwrap_err();
    assert_eq!(failure, Failure::NoHook { hook: Hook::Request });
    assert!(!policy.stats().quarantined);
}

#[test]
fn many_threads_decide_at_once() {
    for (reuse, memo_bytes) in [(0, 0), (50, 0), (0, 1 << 20)] {
        let policy = load(BY_HEADER, &[Hook::Connect], LoadOptions { reuse, memo_bytes, ..options("p") });
        thread::scope(|scope| {
            for thread in 0..8 {
                let policy = &policy;
                scope.spawn(move || {
                    for turn in 0..200 {
                        let open = (thread + turn) % 2 == 0;
                        let view = if open { header("1") } else { nothing() };
                        let expected = if open { "allow" } else { "deny shut" };
                        let host = format!("{}.test", turn % 7);
                        assert_eq!(show(&policy.connect(&connection(&host), &view)), expected);
                    }
                });
            }
        });
        assert_eq!(policy.stats().calls, 1600);
        assert!(policy.stats().failures.is_empty());
    }
}

#[test]
fn a_compiler_that_remembers_compiles_to_the_same() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("compiled");
    let component = component(BY_HEADER, &[Hook::Connect, Hook::Request]);
    let settings = serde_json::json!({});
    let compile = |compiler: Compiler| compiler.compile(&component, "demo", "1.0.0", &settings, &key()).unwrap().bytes;
    let remembering = || Compiler::remembering(Some(&directory)).unwrap();
    let files = || {
        let entries = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries.map(|path| (std::fs::read(&path).unwrap(), path)).collect();
        files.sort_by(|(_, one), (_, other)| one.cmp(other));
        files
    };

    let expected = compile(Compiler::new().unwrap());
    assert!(compile(remembering()) == expected, "compiled for the first time");
    let kept = files();
    assert_eq!(kept.len(), 2, "one that bakes, one that compiles ahead");
    assert!(compile(remembering()) == expected, "compiled from what another one has left");
    assert!(files() == kept, "hardly anything was compiled anew");

    for (bytes, path) in &kept {
        let mut damaged = bytes.clone();
        *damaged.last_mut().unwrap() ^= 1;
        std::fs::write(path, damaged).unwrap();
    }
    assert!(compile(remembering()) == expected, "compiled anew, for what was left is damaged");
    // Functions are kept in any order.
    let lengths = |files: Vec<(Vec<u8>, _)>| files.into_iter().map(|(bytes, _)| bytes.len()).collect::<Vec<_>>();
    assert_eq!(lengths(files()), lengths(kept), "and kept again");

    let shared = home.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    assert!(
        compile(Compiler::remembering(Some(&shared)).unwrap()) == expected,
        "without a directory that others may write"
    );
    assert_eq!(std::fs::read_dir(&shared).unwrap().count(), 0);
}
