//! How fast the privacy router reads a request: as Wasm, in a fresh instance of the host's engine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use openshell_policy_host::types::{Backend, Locality, Message, Sensitivity};
use openshell_policy_host::{
    Artifact, Compiler, Counters, Engine, EngineOptions, InferenceRequest, LoadOptions, Policy, Process, SigningKey,
};

use crate::report::Samples;

/// Kinds of text, by the generator's names; the first is a mixture of all.
const TEXTS: &[Option<&str>] =
    &[None, Some("prose"), Some("code"), Some("log"), Some("json"), Some("uuid"), Some("numbers")];

/// Prints medians for requests of 2 KB and 100 KB.
pub fn run(component: Option<&Path>) -> Result<()> {
    let key = SigningKey::from_bytes(&[7; 32]);
    let router = openshell_bundle::builtin("privacy-router").context("the bundle holds the router")?;
    let given = component.map(std::fs::read).transpose().context("reading the router")?;
    let artifact = Compiler::new()?.compile(
        given.as_deref().unwrap_or(router.component),
        "privacy-router",
        "1.0.0",
        &serde_json::json!({}),
        &key,
    )?;
    let opened = Artifact::open(&artifact.bytes, &artifact.digest, &key.verifying_key())?;
    let mut options = LoadOptions::new("bench", opened.manifest().imports.clone());
    options.deadline = Duration::from_secs(5);
    options.counters = Arc::new(Counters::new());
    let policy = Engine::new(EngineOptions::default())?.load(&opened, options)?;
    println!("## One `route` decision\n");
    println!(
        "The privacy router reads one message of text with nothing sensitive in it; a fresh instance each time.\n"
    );
    println!("| text | 2 KB | 100 KB |\n|---|---|---|");
    for only in TEXTS {
        let cell = |kilobytes: usize, rounds: usize| {
            time(&policy, openshell_eval::speed::sample(kilobytes * 1024, *only), rounds)
        };
        println!("| {} | {} | {} |", only.unwrap_or("mixed"), cell(2, 1000)?, cell(100, 200)?);
    }
    println!("\nCounting its tokens, natively:\n\n| text | 2 KB | 16 KB | 100 KB, sampled |\n|---|---|---|---|");
    for only in TEXTS {
        let cell = |kilobytes: usize, rounds: usize| {
            let text = openshell_eval::speed::sample(kilobytes * 1024, *only);
            Samples::of(rounds, 1, || openshell_inference_format::tokens::count([text.as_str()].into_iter())).cell()
        };
        println!("| {} | {} | {} | {} |", only.unwrap_or("mixed"), cell(2, 1000), cell(16, 200), cell(100, 200));
    }
    println!();
    Ok(())
}

fn time(policy: &Policy, text: String, rounds: usize) -> Result<String> {
    let request = InferenceRequest {
        sandbox: "bench".into(),
        process: Process { executable: "/usr/bin/python3".into(), digest: "0".repeat(64), script: None },
        model: "m".into(),
        messages: vec![Message { role: "user".into(), text }],
        needs: Vec::new(),
        input_tokens: 100,
        output_tokens: 100,
        expected_output_tokens: 100,
        so_far: Sensitivity::Public,
    };
    let backends = [Backend {
        name: "home".into(),
        model: "m".into(),
        locality: Locality::Host,
        clearance: Sensitivity::Restricted,
        input_price: 0,
        output_price: 0,
        context: 1_000_000,
        features: Vec::new(),
        latency_ms: 0,
        cached_input_price: 0,
        cached_tokens: 0,
        redact: false,
    }];
    let answer = policy.route(&request, &backends).result;
    let decision = answer.map_err(|failure| anyhow::anyhow!("the router failed: {failure}"))?;
    decision.map_err(|denial| anyhow::anyhow!("the router refused: {}", denial.reason))?;
    Ok(Samples::of(rounds, 1, || policy.route(&request, &backends)).cell())
}
