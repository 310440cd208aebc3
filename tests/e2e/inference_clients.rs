//! The vendors' own clients, unchanged, inside a live sandbox.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use openshell_tests::origin::{Origin, OriginConfig};
use tokio::net::TcpListener;

use crate::support::Stage;

const PYTHON: &str = include_str!("inference_clients.py");
const NODE: &str = include_str!("inference_clients.mjs");
/// Checks that `inference_clients.py` makes with a backend of this kind.
const CHECKS: [(&str, usize); 3] = [("openai", 17), ("compatible", 17), ("anthropic", 16)];

/// Where `scripts/test-tools.sh` has installed them.
fn installed(name: &str) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
    let directory = target.join("inference-clients").join(name);
    ensure!(
        directory.join(".installed").exists(),
        "{} lacks the clients: run scripts/test-tools.sh",
        directory.display()
    );
    Ok(directory.canonicalize()?)
}

/// Puts a directory of clients into the sandbox: thousands of files, so once for all backends.
async fn upload(stage: &Stage, directory: &Path, to: &str) -> Result<()> {
    stage.run(&["sandbox", "upload", "demo", &directory.to_string_lossy(), to]).await?.ok().map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_clients_work_unchanged() -> Result<()> {
    let stage = Stage::new().await?;
    let asked = "python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'";
    let version = stage.inside(asked).await?.ok()?.stdout.trim().to_owned();
    upload(&stage, &installed(&format!("python-{version}"))?, "python").await?;
    let node = installed("node")?;
    std::fs::write(node.join("clients.mjs"), NODE)?;
    upload(&stage, &node, "node").await?;

    for (kind, checks) in CHECKS {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let model = Origin::start(listener, OriginConfig { name: kind.into(), ..OriginConfig::default() }, None)?;
        let key = stage.world.write("key", "backends-own")?;
        let provider = if kind == "anthropic" { kind } else { "openai" };
        let name = format!("key-{kind}");
        let create = ["provider", "create", &name, "--type", provider, "--from-file", &key.to_string_lossy()];
        stage.run(&create).await?.ok()?;
        let url = format!("http://127.0.0.1:{}/v1", model.address.port());
        let add = ["inference", "backend", "add", kind, "--kind", kind, "--url", &url, "--locality", "host"];
        let rest = ["--clearance", "restricted", "--provider", &name, "--input-price", "3", "--output-price", "15"];
        stage.run(&[&add[..], &rest].concat()).await?.ok()?;
        stage.run(&["inference", "rules", "demo", "--clear", "--alias", "house=small"]).await?.ok()?;

        let environment = format!("BACKEND={kind} KIND={kind}");
        let script = format!("PYTHONPATH=$PWD/python {environment} python3 - <<'EOF'\n{PYTHON}\nEOF");
        let ran = stage.inside(&script).await?;
        let passed = ran.stdout.lines().filter(|line| line.starts_with("ok ")).count();
        ensure!(ran.code == 0 && passed == checks, "{passed} of {checks} with {kind}:\n{}{}", ran.stdout, ran.stderr);
        let ran = stage.inside(&format!("cd node && {environment} node clients.mjs")).await?;
        ensure!(ran.stdout.contains("all node checks passed"), "with {kind}:\n{}{}", ran.stdout, ran.stderr);
        let seen = model.seen();
        ensure!(!seen.is_empty() && !format!("{seen:?}").contains("callers-own"), "the caller's key got out: {seen:?}");
        usage(&stage, kind, seen.len()).await?;
        stage.run(&["inference", "backend", "remove", kind]).await?.ok()?;
    }
    Ok(())
}

/// What was served is accounted for, and a budget that is used up stops the clients.
async fn usage(stage: &Stage, kind: &str, requests: usize) -> Result<()> {
    let mut line = serde_json::Value::Null;
    let counted = |line: &serde_json::Value| line["requests"].as_u64().unwrap_or(0) as usize;
    // Records arrive a moment after the answers; counting tokens, which two clients do, is free.
    for _ in 0..100 {
        let ran = stage.run(&["inference", "usage", "--by", "backend", "-o", "json"]).await?.ok()?;
        let lines: Vec<serde_json::Value> = serde_json::from_str(&ran.stdout)?;
        line = lines.into_iter().find(|line| line["backend"] == kind).unwrap_or_default();
        if counted(&line) + 2 >= requests {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    ensure!(line["cost"].as_u64() > Some(0), "{line}");
    ensure!(counted(&line) + 2 >= requests, "{requests} requests, {line}");
    stage.run(&["inference", "rules", "demo", "--budget", "total=0.000001"]).await?.ok()?;
    let ask = "curl -sS -i https://inference.local/v1/chat/completions -H 'Content-Type: application/json' \
               -d '{\"model\":\"small\",\"messages\":[]}'";
    stage.check(&[(ask, "402"), (ask, "budget_exhausted")]).await
}
