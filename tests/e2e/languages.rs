//! Policies in other languages: the same contract, the same engine, the same push.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use openshell_tests::world::World;
use tokio::task::block_in_place;

use crate::support::Stage;

const JAVASCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies-wasm/javascript");

/// Makes a component of the example; `scripts/test-tools.sh` installs what that takes.
fn componentize(out: &Path) -> Result<()> {
    let tools = std::env::var("OPENSHELL_TEST_NODE").unwrap_or_else(|_| "/opt/openshell-tests/node".into());
    let modules = Path::new(&tools).join("node_modules");
    ensure!(modules.is_dir(), "{} is missing; run: scripts/test-tools.sh", modules.display());
    let made = Command::new("node")
        .arg(Path::new(JAVASCRIPT).join("build.mjs"))
        .arg(out)
        .env("OPENSHELL_NODE_MODULES", modules)
        .output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

#[test]
fn a_policy_in_javascript_imports_nothing_but_the_contract() -> Result<()> {
    let world = World::new()?;
    componentize(&world.path("read-only.wasm"))?;
    let inspected = world.run(&["policy", "inspect", "read-only.wasm", "-o", "json"])?.ok()?.json()?;
    ensure!(inspected["imports"] == serde_json::json!(["log", "view"]), "no WASI, and no grant for it: {inspected}");
    ensure!(inspected["hooks"] == serde_json::json!(["connect", "request"]), "{inspected}");
    ensure!(inspected["pure_verdicts"] == true, "{inspected}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a debug build compiles its engine for minutes: run it with release binaries in OPENSHELL_BIN_DIR"]
async fn a_policy_in_javascript_is_pushed_and_obeyed() -> Result<()> {
    let stage = Stage::new().await?;
    block_in_place(|| componentize(&stage.world.path("read-only.wasm")))?;
    let settings = r#"{"host": "api.demo.test"}"#;
    let push =
        ["policy", "push", "read-only.wasm", "--sandbox", "demo", "--settings", settings, "--deadline-ms", "5000"];
    stage.run(&push).await?.ok()?;
    // It grants no private range, so what it allows ends at the address.
    stage
        .check(&[
            ("curl -sS $API/status", "ssrf_denied"),
            ("curl -sS -X POST -d x=1 $API/status", "POST would write"),
            ("curl -sS https://elsewhere.test/", "no policy allows"),
        ])
        .await
}
