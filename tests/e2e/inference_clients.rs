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

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_clients_work_unchanged() -> Result<()> {
    let node = installed("node")?;
    std::fs::write(node.join("clients.mjs"), NODE)?;
    for (kind, checks) in CHECKS {
        let stage = Stage::new().await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let model = Origin::start(listener, OriginConfig { name: kind.into(), ..OriginConfig::default() }, None)?;
        let key = stage.world.write("key", "backends-own")?;
        let provider = if kind == "anthropic" { kind } else { "openai" };
        let create = ["provider", "create", "key", "--type", provider, "--from-file", &key.to_string_lossy()];
        stage.run(&create).await?.ok()?;
        let url = format!("http://127.0.0.1:{}/v1", model.address.port());
        let add = ["inference", "backend", "add", kind, "--kind", kind, "--url", &url, "--locality", "host"];
        let rest = ["--clearance", "restricted", "--provider", "key", "--input-price", "3", "--output-price", "15"];
        stage.run(&[&add[..], &rest].concat()).await?.ok()?;
        stage.run(&["inference", "rules", "demo", "--alias", "house=small"]).await?.ok()?;

        let environment = format!("BACKEND={kind} KIND={kind}");
        let asked = "python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'";
        let version = stage.inside(asked).await?.ok()?.stdout.trim().to_owned();
        let packages = installed(&format!("python-{version}"))?;
        stage.run(&["sandbox", "upload", "demo", &packages.to_string_lossy(), "python"]).await?.ok()?;
        let script = format!("PYTHONPATH=$PWD/python {environment} python3 - <<'EOF'\n{PYTHON}\nEOF");
        let ran = stage.inside(&script).await?;
        let passed = ran.stdout.lines().filter(|line| line.starts_with("ok ")).count();
        ensure!(ran.code == 0 && passed == checks, "{passed} of {checks} with {kind}:\n{}{}", ran.stdout, ran.stderr);
        stage.run(&["sandbox", "upload", "demo", &node.to_string_lossy(), "node"]).await?.ok()?;
        let ran = stage.inside(&format!("cd node && {environment} node clients.mjs")).await?;
        ensure!(ran.stdout.contains("all node checks passed"), "with {kind}:\n{}{}", ran.stdout, ran.stderr);
        let seen = model.seen();
        ensure!(!seen.is_empty() && !format!("{seen:?}").contains("callers-own"), "the caller's key got out: {seen:?}");
        usage(&stage, kind, seen.len()).await?;
    }
    Ok(())
}

/// What was served is accounted for, and a budget that is used up stops the clients.
async fn usage(stage: &Stage, kind: &str, requests: usize) -> Result<()> {
    let counted = |lines: &serde_json::Value| lines[0]["requests"].as_u64().unwrap_or(0);
    let mut lines = serde_json::Value::Null;
    // Records arrive a moment after the answers; counting tokens, which two clients do, is free.
    for _ in 0..100 {
        let ran = stage.run(&["inference", "usage", "--by", "backend", "-o", "json"]).await?.ok()?;
        lines = serde_json::from_str(&ran.stdout)?;
        if counted(&lines) as usize + 2 >= requests {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    ensure!(lines[0]["backend"] == kind && lines[0]["cost"].as_u64() > Some(0), "{lines}");
    ensure!(counted(&lines) as usize + 2 >= requests, "{requests} requests, {lines}");
    stage.run(&["inference", "rules", "demo", "--budget", "total=0.000001"]).await?.ok()?;
    let ask = "curl -sS -i https://inference.local/v1/chat/completions -H 'Content-Type: application/json' \
               -d '{\"model\":\"small\",\"messages\":[]}'";
    stage.check(&[(ask, "402"), (ask, "budget_exhausted")]).await
}
