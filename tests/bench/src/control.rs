//! The gateway with a thousand supervisors: a process of its own, and clients here that speak the real protocol to it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::json;

use crate::process::{Gateway, Terms};
use crate::proxies::peers;
use crate::report::{Samples, time};

/// How long it is watched while nothing happens.
const IDLE: Duration = Duration::from_secs(10);
/// API reads that are begun in a second.
const READS: u32 = 1000;
/// For so long.
const READING: Duration = Duration::from_secs(5);
const PUSHES: usize = 5;
const STARTS: usize = 3;

/// Measures a gateway with `count` supervisors.
pub async fn run(count: usize) -> Result<()> {
    let mut cold = Vec::new();
    for n in 0..STARTS {
        let terms = Terms::alone();
        let began = Instant::now();
        let mut gateway = terms.start(&format!("cold-{n}")).await;
        healthy(&gateway).await?;
        cold.push(began.elapsed().as_nanos() as f64);
        gateway.kill();
    }
    let terms = Terms::alone();
    let mut gateway = terms.start("gateway").await;
    let mut supervisors = Vec::new();
    for n in 0..count {
        supervisors.push(gateway.sandbox(&format!("s{n}")).await);
    }
    connected(&gateway, count).await?;
    let before = peers::process(gateway.pid());
    tokio::time::sleep(IDLE).await;
    let after = peers::process(gateway.pid());
    let idle = (after.cpu_seconds - before.cpu_seconds) / IDLE.as_secs_f64() * 100.0;
    let resident = after.resident_kib;

    let rules = gateway.items("/v1/modules").await.into_iter().find(|module| module["name"] == "rules");
    let rules = rules.context("the rules module")?["digest"].clone();
    let mut pushes = Vec::new();
    for n in 0..PUSHES {
        let settings = crate::world::allow(&format!("h{n}.test"));
        let push = json!({ "module": rules, "settings": settings, "selector": {} });
        let began = Instant::now();
        let report = gateway.post("/v1/pushes", push).await.ok();
        ensure!(report["enforcing"].as_array().is_some_and(|all| all.len() == count), "some did not answer");
        pushes.push(began.elapsed().as_nanos() as f64);
    }
    let reads = reads(&gateway, count).await?;
    let after = peers::process(gateway.pid()).resident_kib;

    gateway.kill();
    let began = Instant::now();
    let again = terms.start("gateway").await;
    let answers = began.elapsed();
    connected(&again, count).await?;
    let back = began.elapsed();

    let row = |samples: Vec<f64>| Samples::from(samples);
    let (cold, pushes, reads) = (row(cold), row(pushes), row(reads));
    println!("## A gateway with {count} supervisors\n");
    println!(
        "Simulated supervisors that speak the real protocol, in another process on the same machine; SQLite. Reads are begun at a fixed \
         rate and timed from then.\n\
         The slowest push is the first: nothing is compiled yet, and each gets all of the artifact.\n"
    );
    println!("| | |\n|---|---|");
    println!("| first start in an empty directory → answers, slowest of {STARTS} | {} |", time(cold.quantile(1.0)));
    println!("| resident, all connected | {} MiB; {} MiB after the pushes and reads |", resident >> 10, after >> 10);
    println!("| processor time while nothing happens | {idle:.1} % of one core |");
    println!(
        "| push to all of settings never seen → compiled, sent to each, enforcing: median (slowest of {PUSHES}) | {} ({}) |",
        time(pushes.quantile(0.5)),
        time(pushes.quantile(1.0))
    );
    println!("| {READS} API reads a second, median (p99) | {} |", reads.cell());
    println!(
        "| `kill -9`, started again → answers; all connected | {}; {} |\n",
        time(answers.as_nanos() as f64),
        time(back.as_nanos() as f64)
    );
    Ok(())
}

async fn healthy(gateway: &Gateway) -> Result<()> {
    let answer = gateway.ask(Method::GET, "/readyz", None).await.context("it does not answer")?;
    ensure!(answer.status.is_success(), "{answer:?}");
    Ok(())
}

async fn connected(gateway: &Gateway, count: usize) -> Result<()> {
    for _ in 0..1200 {
        if gateway.get("/v1/status").await.ok()["connected"] == count {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("not all {count} supervisors are connected")
}

/// One sandbox after the other, whether earlier reads are answered or not.
async fn reads(gateway: &Gateway, count: usize) -> Result<Vec<f64>> {
    let every = Duration::from_secs(1) / READS;
    let began = Instant::now();
    let total = READS * u32::try_from(READING.as_secs())?;
    let asked = futures_util::stream::iter(0..total).map(|n| async move {
        let due = began + every * n;
        tokio::time::sleep_until(due.into()).await;
        let answer = gateway.get(&format!("/v1/sandboxes/s{}", n as usize % count)).await;
        answer.status.is_success().then(|| due.elapsed().as_nanos() as f64)
    });
    let answered: Vec<Option<f64>> = asked.buffer_unordered(READS as usize).collect().await;
    answered.into_iter().collect::<Option<_>>().context("a read failed")
}
