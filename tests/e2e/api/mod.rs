//! The gateway held against its own OpenAPI document: by a tester that makes up requests, and by a client made from it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use openshell_tests::servers::python;
use openshell_tests::world::{World, finish};

/// A gateway, where it answers, and how.
struct Gateway {
    world: World,
    url: String,
    ca: PathBuf,
    token: String,
}

impl Gateway {
    async fn new() -> Result<Self> {
        let world = World::new()?;
        finish(world.command(&["gateway", "start"])).await?.ok()?;
        let state = world.path("state/openshell/gateway");
        let endpoint: serde_json::Value = serde_json::from_slice(&std::fs::read(state.join("endpoint.json"))?)?;
        let url = endpoint["url"].as_str().context("a URL")?.to_owned();
        let token = std::fs::read_to_string(state.join("admin.token"))?.trim().to_owned();
        Ok(Self { world, url, ca: state.join("ca.pem"), token })
    }
}

/// A program of the tests' own Python.
fn tool(name: &str) -> Result<Command> {
    let program = python()?.with_file_name(name);
    ensure!(program.is_file(), "{} is missing; run: scripts/test-tools.sh", program.display());
    Ok(Command::new(program))
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_requests_are_answered_as_the_document_says() -> Result<()> {
    let gateway = Gateway::new().await?;
    let run = async |words: &[&str]| finish(gateway.world.command(words)).await?.ok();
    // Something to find.
    run(&["sandbox", "create", "--name", "demo"]).await?;
    run(&["user", "create", "vera", "--role", "viewer"]).await?;
    let config = gateway.world.write("schemathesis.toml", include_str!("schemathesis.toml"))?;
    let mut tester = tool("schemathesis")?;
    tester.arg("--config-file").arg(config).arg("run").arg(format!("{}/openapi.json", gateway.url));
    tester.arg("--tls-verify").arg(&gateway.ca).arg("--header").arg(format!("Authorization: Bearer {}", gateway.token));
    tester
        .args(["--no-color", "--seed", "1", "--max-time", "30", "--request-retries", "2"])
        .current_dir(gateway.world.root());
    let ran = finish(tester).await?;
    ensure!(ran.code == 0, "{}\n{}", ran.stdout, ran.stderr);
    // Nothing that was made up has taken the gateway's head off.
    let status = run(&["gateway", "status", "-o", "json"]).await?.json()?;
    ensure!(status["connected"].as_u64() >= Some(1), "{status}");
    run(&["audit", "verify"]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_made_from_the_document_works() -> Result<()> {
    let gateway = Gateway::new().await?;
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway/openapi.json");
    let mut maker = tool("openapi-python-client")?;
    maker.args(["generate", "--meta", "none", "--path"]).arg(document);
    maker.arg("--output-path").arg(gateway.world.path("made/openshell_client"));
    let told = finish(maker).await?.ok()?;
    let told = told.stdout + &told.stderr;
    // Of all calls it knows the bodies but of one: an upload of WebAssembly.
    let left_out = told.matches("Endpoint will not be generated").count();
    ensure!(left_out == 1 && told.contains("POST /v1/modules"), "{told}");
    ensure!(!told.contains("Unable to p"), "{told}");
    let mut client = Command::new(python()?);
    client.arg(gateway.world.write("client.py", include_str!("client.py"))?);
    client.arg(&gateway.url).arg(&gateway.ca).arg(&gateway.token).env("PYTHONPATH", gateway.world.path("made"));
    let ran = finish(client).await?.ok()?;
    ensure!(ran.stdout.trim() == "made, found, changed, stopped, gone", "{ran:?}");
    Ok(())
}
