//! A policy on a few sandboxes first; and whose policies are taken at all.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use openshell_tests::servers::Server;
use openshell_tests::world::Ran;
use serde_json::Value;
use tokio::task::block_in_place;

use crate::support::Stage;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies-wasm/examples/get-only");

/// A policy that allows what its first version gives no answer to.
const POLICY: &str = r#"use openshell_policy_sdk::prelude::*;

#[derive(Deserialize)]
struct Trial {}

impl Policy for Trial {}

impl Request for Trial {
    fn request(&self, _: &Connection, request: &HttpRequest) -> Verdict {
        ANSWER
        Verdict::allow("all")
    }
}

export!(Trial: request);
"#;

async fn status(stage: &Stage) -> Result<Value> {
    let reports = stage.run(&["policy", "status", "-o", "json"]).await?.ok()?.json()?;
    Ok(reports[0].clone())
}

async fn eventually(stage: &Stage, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    for _ in 0..100 {
        let found = status(stage).await?;
        if wanted(&found) {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("it never came to look as wanted: {}", status(stage).await?)
}

async fn curl(stage: &Stage, sandbox: &str, path: &str) -> Result<Ran> {
    let url = format!("{}{path}", stage.api);
    stage.run(&["sandbox", "exec", sandbox, "--", "curl", "-sS", &url]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_is_taken_back_by_itself_and_a_good_one_is_promoted() -> Result<()> {
    let stage = Stage::new().await?;
    for name in ["red1", "red2", "red3"] {
        let create =
            ["sandbox", "create", "--name", name, "--label", "team=red", "--add-host", "api.demo.test:127.0.0.1"];
        stage.run(&create).await?.ok()?;
    }
    let listed = stage.run(&["sandbox", "list", "--selector", "team=red"]).await?.ok()?;
    ensure!(listed.stdout.contains("red3") && !listed.stdout.contains("demo"), "{}", listed.stdout);
    stage.run(&["policy", "new", "trial"]).await?.ok()?;
    let write = |answer: &str| stage.world.write("trial/src/lib.rs", &POLICY.replace("ANSWER", answer));
    let push = ["policy", "push", "trial", "--selector", "team=red", "--canary", "10%", "--replace-version"];

    write(r#"assert!(request.path != "/boom", "no idea");"#)?;
    let pushed = stage.run(&push).await?.ok()?;
    ensure!(pushed.stdout.contains("policy status"), "{}", pushed.stdout);
    let running = status(&stage).await?;
    let canary = running["rollout"]["canaries"][0]["sandbox"].as_str().context("a canary")?.to_owned();
    ensure!(running["waiting"] == 2 && canary.starts_with("red"), "{running}");
    let bound = stage.run(&["policy", "list", &canary]).await?.ok()?;
    ensure!(bound.stdout.contains("is on trial here"), "{}", bound.stdout);
    ensure!(curl(&stage, &canary, "/fine").await?.stdout.contains("ssrf_denied"), "it allows, the address does not");
    ensure!(curl(&stage, &canary, "/boom").await?.stdout.contains("policy_failed"));
    let ended = eventually(&stage, |report| report["rollout"]["state"] == "rolled_back").await?;
    ensure!(ended["rollout"]["reason"].as_str().is_some_and(|reason| reason.contains("no idea")), "{ended}");
    let shown = stage.run(&["policy", "status"]).await?.ok()?;
    ensure!(shown.stdout.contains("rolled back") && shown.stdout.contains("no idea"), "{}", shown.stdout);
    ensure!(curl(&stage, &canary, "/boom").await?.stdout.contains("no policy allows"), "it is as it was before");

    write("let _ = request;")?;
    stage.run(&push).await?.ok()?;
    let canary = status(&stage).await?["rollout"]["canaries"][0]["sandbox"].as_str().unwrap_or_default().to_owned();
    let early = stage.run(&["policy", "promote", "--canary", "trial"]).await?;
    ensure!(early.code == 1 && early.stderr.contains("0 decisions"), "{early:?}");
    ensure!(curl(&stage, &canary, "/boom").await?.stdout.contains("ssrf_denied"));
    eventually(&stage, |report| report["asked"].as_u64().is_some_and(|asked| asked > 0)).await?;
    stage.run(&["policy", "promote", "--canary", "trial"]).await?.ok()?;
    for name in ["red1", "red2", "red3"] {
        ensure!(curl(&stage, name, "/boom").await?.stdout.contains("ssrf_denied"), "{name}");
    }
    stage.check(&[("curl -sS $API/boom", "no policy allows")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_trusted_publisher_signed_is_enforced() -> Result<()> {
    let stage = Stage::new().await?;
    let settings = r#"{"host": "api.demo.test", "binaries": ["/usr/bin/curl"]}"#;
    let push = async |more: &[&str]| {
        let mut words = vec!["policy", "push", "built.wasm", "--sandbox", "demo", "--settings", settings];
        words.extend(more);
        stage.run(&words).await
    };
    stage.run(&["policy", "build", EXAMPLE, "--out", "built.wasm"]).await?.ok()?;
    let made = stage.run(&["policy", "keygen", "acme.pem", "-o", "json"]).await?.ok()?.json()?;
    let key = made["key"].as_str().unwrap_or_default().to_owned();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(stage.world.path("acme.pem"))?.permissions());
    ensure!(mode & 0o777 == 0o600 && key.starts_with("ed25519:"), "{mode:o} {made}");
    let again = stage.run(&["policy", "keygen", "acme.pem"]).await?;
    ensure!(again.code == 1 && again.stderr.contains("exists already"), "{again:?}");
    stage.run(&["policy", "keygen", "mallory.pem"]).await?.ok()?;

    push(&["--version", "1.0.0"]).await?.ok()?;
    let added = stage.run(&["gateway", "trust", "add", "acme", "--key", "acme.pem.pub"]).await?.ok()?;
    ensure!(
        added.stderr.contains("get-only") || added.stderr.contains("built"),
        "what is in force is named: {added:?}"
    );
    let trusted = stage.run(&["gateway", "trust", "list"]).await?.ok()?;
    ensure!(trusted.stdout.contains("acme") && trusted.stdout.contains(&key), "{}", trusted.stdout);
    for (more, expected) in [
        (&["--version", "1.0.0"][..], "no trusted publisher signed"),
        (&["--version", "2.0.0"], "no trusted publisher signed"),
        (&["--version", "2.0.0", "--sign-key", "mallory.pem"], "which is not trusted here"),
        (&["--sign-key", "acme.pem.pub"], "can be read by others"),
        (&["--sign-key", "missing.pem"], "can't read missing.pem"),
    ] {
        let refused = push(more).await?;
        ensure!(refused.code == 1 && refused.stderr.contains(expected), "{more:?}: {refused:?}");
    }

    stage
        .run(&["policy", "sign", "built.wasm", "--key", "acme.pem", "--version", "3.0.0", "--name", "get-only"])
        .await?
        .ok()?;
    let inspected = stage.run(&["policy", "inspect", "built.wasm"]).await?.ok()?;
    ensure!(inspected.stdout.contains(&key) && inspected.stdout.contains("get-only@3.0.0"), "{}", inspected.stdout);
    let relabelled = push(&["--version", "9.0.0"]).await?;
    ensure!(
        relabelled.code == 1 && relabelled.stderr.contains("the signature is for get-only@3.0.0"),
        "{relabelled:?}"
    );
    push(&["--replace-all"]).await?.ok()?;
    let history = stage.run(&["policy", "history", "demo"]).await?.ok()?;
    ensure!(history.stdout.contains("get-only@3.0.0 (signed by acme)"), "{}", history.stdout);
    let rollback = stage.run(&["policy", "rollback", "demo"]).await?;
    ensure!(rollback.code == 1 && rollback.stderr.contains("no trusted publisher signed"), "{rollback:?}");

    // Through a registry: the signature travels, and changed bytes are no longer what was signed.
    let registry = block_in_place(Server::registry)?;
    let place = format!("oci://127.0.0.1:{}/policies/get-only:3.0.0", registry.port);
    stage.run(&["policy", "push", "built.wasm", "--oci-out", &place]).await?.ok()?;
    let pulled = stage.run(&["policy", "pull", &place, "--out", "pulled.wasm", "-o", "json"]).await?.ok()?.json()?;
    ensure!(pulled["signed_by"] == *key && stage.world.path("pulled.wasm.sig").is_file(), "{pulled}");
    stage.run(&["policy", "push", &place, "--sandbox", "demo", "--settings", settings]).await?.ok()?;
    let mut bytes = std::fs::read(stage.world.path("pulled.wasm"))?;
    bytes.extend([0, 2, 1, b'x']);
    std::fs::write(stage.world.path("pulled.wasm"), &bytes)?;
    std::fs::write(stage.world.path("cut.wasm"), &bytes[..bytes.len() / 2])?;
    std::fs::write(stage.world.path("built.wasm.sig"), "{\"name\"")?;
    for (words, expected) in [
        (["policy", "inspect", "pulled.wasm"], "pulled.wasm.sig is refused"),
        (["policy", "inspect", "built.wasm"], "does not parse"),
        (["policy", "inspect", "cut.wasm"], "error:"),
    ] {
        let refused = stage.run(&words).await?;
        ensure!(refused.code == 1 && refused.stderr.contains(expected), "{words:?}: {refused:?}");
    }

    let last = stage.run(&["gateway", "trust", "remove", "acme"]).await?;
    ensure!(last.code == 1 && last.stderr.contains("--allow-unsigned"), "{last:?}");
    stage.run(&["gateway", "trust", "remove", "acme", "--allow-unsigned"]).await?.ok()?;
    stage.run(&["policy", "rollback", "demo", "--to", "2"]).await?.ok().map(drop)
}
