//! The vendors' own clients, unchanged, inside a live sandbox.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use openshell_tests::origin::{Origin, OriginConfig};
use tokio::net::TcpListener;

use crate::support::Stage;

const PYTHON: &str = include_str!("inference_clients.py");
const NODE: &str = include_str!("inference_clients.mjs");
/// Checks that `inference_clients.py` makes with a backend of this kind.
const CHECKS: [(&str, usize); 3] = [("openai", 17), ("compatible", 17), ("anthropic", 16)];

/// Where clients are kept between runs.
fn kept() -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
    let directory = target.join("inference-clients");
    std::fs::create_dir_all(&directory)?;
    Ok(directory.canonicalize()?)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A directory with the Python clients for an interpreter of this version, such as `3.11`; made once.
fn python(version: &str) -> Result<PathBuf> {
    let directory = kept()?.join(format!("python-{version}"));
    let done = directory.join("installed-2");
    if !done.exists() {
        let target = directory.to_string_lossy();
        let install = ["-m", "pip", "install", "-q", "--no-compile", "--upgrade", "--target", &target];
        let wheels = ["--only-binary=:all:", "--python-version", version, "openai==3.57.0", "anthropic==2.14.0"];
        let langchain = ["langchain-openai==1.7.4", "langchain-anthropic==1.7.10"];
        run(Command::new("python3").args(install).args(wheels).args(langchain))?;
        std::fs::write(done, "")?;
    }
    Ok(directory)
}

/// A directory with the JavaScript clients, where there is npm; made once.
fn node() -> Result<Option<PathBuf>> {
    let found = ["node", "npm"].iter().all(|name| Command::new(name).arg("--version").output().is_ok());
    if !found {
        return Ok(None);
    }
    let (directory, done) = (kept()?.join("node"), kept()?.join("node/installed-1"));
    if !done.exists() {
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join("package.json"), r#"{"private": true}"#)?;
        let packages = ["openai@7.57.0", "@anthropic-ai/sdk@1.14.0"];
        run(Command::new("npm").current_dir(&directory).args(["install", "--silent", "--no-fund"]).args(packages))?;
        std::fs::write(done, "")?;
    }
    std::fs::write(directory.join("clients.mjs"), NODE)?;
    Ok(Some(directory))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_clients_work_unchanged() -> Result<()> {
    let node = tokio::task::spawn_blocking(node).await??;
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
        let packages = tokio::task::spawn_blocking(move || python(&version)).await??;
        stage.run(&["sandbox", "upload", "demo", &packages.to_string_lossy(), "python"]).await?.ok()?;
        let script = format!("PYTHONPATH=$PWD/python {environment} python3 - <<'EOF'\n{PYTHON}\nEOF");
        let ran = stage.inside(&script).await?;
        let passed = ran.stdout.lines().filter(|line| line.starts_with("ok ")).count();
        ensure!(ran.code == 0 && passed == checks, "{passed} of {checks} with {kind}:\n{}{}", ran.stdout, ran.stderr);
        if let Some(directory) = &node {
            stage.run(&["sandbox", "upload", "demo", &directory.to_string_lossy(), "node"]).await?.ok()?;
            let script = format!("cd node && {environment} node clients.mjs");
            let ran = stage.inside(&script).await?;
            ensure!(ran.stdout.contains("all node checks passed"), "with {kind}:\n{}{}", ran.stdout, ran.stderr);
        }
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
