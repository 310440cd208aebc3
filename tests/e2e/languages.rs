//! Policies in other languages: the same contract, the same engine, the same push.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use openshell_tests::world::World;
use tokio::task::block_in_place;

use crate::support::Stage;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies-wasm");

/// A language whose example is the same policy: it lets programs read one host.
#[derive(Clone, Copy)]
enum Language {
    JavaScript,
    Python,
}

impl Language {
    /// Makes a component of the example; `scripts/test-tools.sh` installs what that takes.
    fn componentize(self, out: &Path) -> Result<()> {
        let tools = |variable: &str, usual: &str| {
            let tools = std::env::var(variable).unwrap_or_else(|_| format!("/opt/openshell-tests/{usual}"));
            Path::new(&tools).to_owned()
        };
        let (tool, mut command) = match self {
            Self::JavaScript => {
                let modules = tools("OPENSHELL_TEST_NODE", "node").join("node_modules");
                let mut command = Command::new("node");
                command.arg(Path::new(EXAMPLES).join("javascript/build.mjs")).env("OPENSHELL_NODE_MODULES", &modules);
                (modules, command)
            }
            Self::Python => {
                let tool = tools("OPENSHELL_TEST_PYTHON", "python").join("bin/componentize-py");
                let mut command = Command::new(Path::new(EXAMPLES).join("python/build.sh"));
                command.env("COMPONENTIZE_PY", &tool);
                (tool, command)
            }
        };
        ensure!(tool.exists(), "{} is missing; run: scripts/test-tools.sh", tool.display());
        let made = command.arg(out).output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Ok(())
    }

    fn imports_nothing_but_the_contract(self) -> Result<()> {
        let world = World::new()?;
        self.componentize(&world.path("read-only.wasm"))?;
        let inspected = world.run(&["policy", "inspect", "read-only.wasm", "-o", "json"])?.ok()?.json()?;
        ensure!(
            inspected["imports"] == serde_json::json!(["log", "view"]),
            "no WASI, and no grant for it: {inspected}"
        );
        ensure!(inspected["hooks"] == serde_json::json!(["connect", "request"]), "{inspected}");
        ensure!(inspected["pure_verdicts"] == true, "{inspected}");
        Ok(())
    }

    async fn is_pushed_and_obeyed(self) -> Result<()> {
        let stage = Stage::new().await?;
        block_in_place(|| self.componentize(&stage.world.path("read-only.wasm")))?;
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
}

#[test]
fn a_policy_in_javascript_imports_nothing_but_the_contract() -> Result<()> {
    Language::JavaScript.imports_nothing_but_the_contract()
}

#[test]
fn a_policy_in_python_imports_nothing_but_the_contract() -> Result<()> {
    Language::Python.imports_nothing_but_the_contract()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a debug build compiles its engine for minutes: run it with release binaries in OPENSHELL_BIN_DIR"]
async fn a_policy_in_javascript_is_pushed_and_obeyed() -> Result<()> {
    Language::JavaScript.is_pushed_and_obeyed().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a debug build compiles its engine for minutes: run it with release binaries in OPENSHELL_BIN_DIR"]
async fn a_policy_in_python_is_pushed_and_obeyed() -> Result<()> {
    Language::Python.is_pushed_and_obeyed().await
}
