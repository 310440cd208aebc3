//! A push to a thousand supervisors: clients in this process that speak the real protocol to a real gateway, and verify
//! what a real one verifies.

use std::path::Path;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::report::{Samples, time};
use crate::world::{Database, World};

/// Sandboxes that are made at once.
const AT_ONCE: usize = 16;

/// Pushes to `count` supervisors, `rounds` times of each kind.
pub async fn run(count: usize, rounds: usize) -> Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("four-rules");
    let component = openshell_policy_build::build(&directory, &Default::default())?.component;
    let world = World::new(Database::Sqlite).await;
    let made = futures_util::stream::iter(0..count).map(|n| {
        let world = &world;
        async move { world.sandbox(&format!("s{n}")).await }
    });
    let supervisors: Vec<_> = made.buffer_unordered(AT_ONCE).collect().await;
    let request = world.request(Method::POST, "/v1/modules?name=four-rules&version=1");
    let module = world.send(request.header("content-type", "application/wasm").body(component)).await.ok();
    let push = async |settings: u32, sandboxes: Value| {
        let mut push = json!({ "module": module["digest"], "settings": { "n": settings } });
        push.as_object_mut().expect("an object").extend(sandboxes.as_object().cloned().unwrap_or_default());
        world.post("/v1/pushes", push).await.ok()
    };
    let report_of = |report: &Value, field: &str| report["timing"][field].as_f64().unwrap_or_default() * 1_000.0;

    // Compiled beforehand, on one sandbox alone.
    let received = || supervisors[1].state.lock().expect("unpoisoned").artifact_bytes;
    let mut first = 0;
    let mut sent = Vec::new();
    for round in 0..rounds {
        push(round as u32, json!({ "sandboxes": ["s0"] })).await;
        let report = push(round as u32, json!({ "selector": {} })).await;
        anyhow::ensure!(report["enforcing"].as_array().is_some_and(|all| all.len() == count), "some did not answer");
        sent.push(report_of(&report, "total_us"));
        if round == 0 {
            first = received();
        }
    }
    let (mut there, mut stage, mut activate) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let report = push(round as u32, json!({ "selector": {} })).await;
        there.push(report_of(&report, "total_us"));
        stage.push(report_of(&report, "stage_us"));
        activate.push(report_of(&report, "activate_us"));
    }
    let patch = (received() - first) / (rounds - 1).max(1);
    let artifact = {
        let state = supervisors[1].state.lock().expect("unpoisoned");
        state.artifacts.values().map(|artifact| artifact.len()).max().context("an artifact")? / 1024
    };
    let patched = sent.split_off(1);
    println!("## A push to {count} supervisors\n");
    println!(
        "Simulated, in one process with the gateway; the module was compiled before. All or none, each acknowledged. What is the same to \
         the last byte for\nmany of them is verified once: each has a processor of its own elsewhere.\n"
    );
    println!("| | median | slowest of {rounds} |\n|---|---|---|");
    let rows = [
        (format!("push → enforcing, artifact ({artifact} KiB, compressed {}) sent to each, once", first / 1024), sent),
        (format!("push → enforcing, other settings: what differs ({patch} bytes) sent to each"), patched),
        ("push → enforcing, artifact there already".into(), there),
        ("of that: staged everywhere".into(), stage),
        ("of that: activated everywhere".into(), activate),
    ];
    for (what, samples) in rows {
        let samples = Samples::from(samples);
        println!("| {what} | {} | {} |", time(samples.quantile(0.5)), time(samples.quantile(1.0)));
    }
    println!();
    Ok(())
}
