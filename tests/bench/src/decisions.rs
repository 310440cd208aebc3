//! One decision, four ways: the same source natively, memoized, by a reused instance and by a fresh one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use four_rules::FourRules;
use openshell_policy_host::{
    Artifact, Compiler, Connection, Counters, Engine, EngineOptions, HttpRequest, LoadOptions, NoView, Policy, Process,
    Scheme, SigningKey, View, types::Capture,
};
use openshell_policy_sdk::{Request as _, testing};
use openshell_rules::Rules;

use crate::report::Samples;

const ROUNDS: usize = 400;

/// A policy under test, and how its source answers natively.
struct Subject {
    name: String,
    component: Vec<u8>,
    settings: serde_json::Value,
    host: String,
    native: Box<dyn Fn(&str)>,
}

pub fn run(keep_resident_bytes: Option<usize>) -> Result<()> {
    let key = SigningKey::from_bytes(&[7; 32]);
    let compiler = Compiler::new()?;
    let mut options = EngineOptions::default();
    options.keep_resident_bytes = keep_resident_bytes.unwrap_or(options.keep_resident_bytes);
    let engine = Engine::new(options)?;
    println!("## One `request` decision\n");
    println!("GET with one allowed host; the full typed answer, through the host's public API.\n");
    println!("| policy | native Rust | memoized | reused instance | fresh instance |\n|---|---|---|---|---|");
    for subject in subjects()? {
        let load = loader(&compiler, &engine, &key, &subject)?;
        let native = Samples::of(ROUNDS, 1_000, || (subject.native)(&subject.host));
        let memoized = ask(&load(0, true)?, &subject.host, 1_000)?;
        let reused = ask(&load(1_000_000, false)?, &subject.host, 1_000)?;
        let fresh = ask(&load(0, false)?, &subject.host, 100)?;
        println!(
            "| {} | {} | {} | {} | {} |",
            subject.name,
            native.cell(),
            memoized.cell(),
            reused.cell(),
            fresh.cell()
        );
    }
    println!();
    Ok(())
}

/// Asks one policy over and over, for a profiler to look at.
pub fn spin(policy: &str, reuse: u32, memoize: bool, time: Duration) -> Result<()> {
    let key = SigningKey::from_bytes(&[7; 32]);
    let engine = Engine::new(EngineOptions::default())?;
    let subject = subjects()?.into_iter().find(|subject| subject.name.contains(policy));
    let subject = subject.with_context(|| format!("no policy is called like {policy}"))?;
    let policy = loader(&Compiler::new()?, &engine, &key, &subject)?(reuse, memoize)?;
    let start = std::time::Instant::now();
    while start.elapsed() < time {
        ask(&policy, &subject.host, 100)?;
    }
    Ok(())
}

/// Compiles the policy and answers how to load it: with what `reuse`, and whether it is memoized.
fn loader(
    compiler: &Compiler,
    engine: &Engine,
    key: &SigningKey,
    subject: &Subject,
) -> Result<impl Fn(u32, bool) -> Result<Policy>> {
    let artifact = compiler.compile(&subject.component, "bench", "1.0.0", &subject.settings, key)?;
    Ok(move |reuse: u32, memoize: bool| {
        let opened = Artifact::open(&artifact.bytes, &artifact.digest, &key.verifying_key())?;
        let mut options = LoadOptions::new("bench", opened.manifest().imports.clone());
        options.reuse = reuse;
        options.deadline = Duration::from_secs(1);
        options.memo_bytes = if memoize { options.memo_bytes } else { 0 };
        options.counters = Arc::new(Counters::new());
        Ok(engine.load(&opened, options)?)
    })
}

fn subjects() -> Result<Vec<Subject>> {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("four-rules");
    let four = openshell_policy_build::build(&crate_dir, &Default::default())?;
    let policy: FourRules = testing::configure("{}").map_err(anyhow::Error::msg)?;
    let mut subjects = vec![Subject {
        name: "4 rules in Rust".into(),
        component: four.component,
        settings: serde_json::json!({}),
        host: "api.github.com".into(),
        native: Box::new(move |host| drop(std::hint::black_box(policy.request(&sdk_connection(host), &sdk_request())))),
    }];
    let rules = openshell_bundle::builtin("rules").context("the bundle holds rules")?;
    for count in [10, 100, 1_000] {
        let settings = serde_json::json!({ "yaml": yaml(count) });
        let policy: Rules = testing::configure(&settings.to_string()).map_err(anyhow::Error::msg)?;
        subjects.push(Subject {
            name: format!("`rules`, {count} endpoints"),
            component: rules.component.to_vec(),
            settings,
            host: format!("host{}.example.com", count / 2),
            native: Box::new(move |host| {
                drop(std::hint::black_box(policy.request(&sdk_connection(host), &sdk_request())))
            }),
        });
    }
    Ok(subjects)
}

fn yaml(endpoints: usize) -> String {
    let mut text = String::from("version: 1\nnetwork_policies:\n  hosts:\n    endpoints:\n");
    for n in 0..endpoints {
        text.push_str(&format!(
            "      - {{host: host{n}.example.com, port: 443, protocol: rest, access: read-only}}\n"
        ));
    }
    text.push_str("    binaries: [{path: /usr/bin/curl}]\n");
    text
}

fn ask(policy: &Policy, host: &str, batch: u32) -> Result<Samples> {
    let connection = Connection {
        sandbox: "bench".into(),
        process: Process { executable: "/usr/bin/curl".into(), digest: "0".repeat(64), script: None },
        host: host.into(),
        port: 443,
        capture: Capture::Transparent,
    };
    let request = HttpRequest { method: "GET".into(), scheme: Scheme::Https, path: "/repos/a/b".into(), query: None };
    let view: Arc<dyn View> = Arc::new(NoView);
    let answer = policy.request(&connection, &request, &view);
    answer.result.map_err(|failure| anyhow::anyhow!("the benchmark's policy failed: {failure}"))?;
    Ok(Samples::of(ROUNDS, batch, || policy.request(&connection, &request, &view)))
}

fn sdk_connection(host: &str) -> openshell_policy_sdk::Connection {
    openshell_policy_sdk::Connection {
        sandbox: "bench".into(),
        process: openshell_policy_sdk::Process {
            executable: "/usr/bin/curl".into(),
            digest: "0".repeat(64),
            script: None,
        },
        host: host.into(),
        port: 443,
        capture: openshell_policy_sdk::Capture::Transparent,
    }
}

fn sdk_request() -> openshell_policy_sdk::HttpRequest {
    openshell_policy_sdk::HttpRequest {
        method: "GET".into(),
        scheme: openshell_policy_sdk::Scheme::Https,
        path: "/repos/a/b".into(),
        query: None,
    }
}
