//! Policies in an OCI registry: published, pulled, pushed to a sandbox, and refused when they are something else.

use anyhow::{Result, ensure};
use openshell_tests::servers::Server;
use tokio::task::block_in_place;

use crate::support::Stage;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies-wasm/examples/get-only");

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_travels_through_a_registry() -> Result<()> {
    let stage = Stage::new().await?;
    let registry = block_in_place(Server::registry)?;
    let place = |name: &str| format!("oci://127.0.0.1:{}/{name}", registry.port);
    let reference = place("policies/get-only:1.0.0");

    stage.run(&["policy", "build", EXAMPLE, "--out", "built.wasm"]).await?.ok()?;
    let publish = ["policy", "push", "built.wasm", "--version", "1.0.0", "--oci-out", &reference, "-o", "json"];
    let published = stage.run(&publish).await?.ok()?.json()?;
    let manifest = published["manifest"].as_str().unwrap_or_default().to_owned();
    ensure!(manifest.starts_with("sha256:"), "{published}");

    let pulled =
        stage.run(&["policy", "pull", &reference, "--out", "pulled.wasm", "-o", "json"]).await?.ok()?.json()?;
    ensure!(pulled["version"] == "1.0.0" && pulled["manifest"] == *manifest, "{pulled}");
    let bytes = |name: &str| std::fs::read(stage.world.path(name));
    ensure!(bytes("built.wasm")? == bytes("pulled.wasm")?, "the bytes are the same");
    let by_digest = format!("{}@{manifest}", place("policies/get-only"));
    stage.run(&["policy", "pull", &by_digest, "--out", "again.wasm"]).await?.ok()?;

    // Straight from the registry onto a sandbox.
    let settings = r#"{"host": "api.demo.test", "binaries": ["/usr/bin/curl"]}"#;
    let push = ["policy", "push", &reference, "--sandbox", "demo", "--settings", settings, "-o", "json"];
    let pushed = stage.run(&push).await?.ok()?.json()?;
    ensure!(pushed["module"]["version"] == "1.0.0" && pushed["module"]["digest"] == published["digest"], "{pushed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_policy_is_refused() -> Result<()> {
    let stage = Stage::new().await?;
    let registry = block_in_place(Server::registry)?;
    let place = |name: &str| format!("oci://127.0.0.1:{}/{name}", registry.port);
    stage.run(&["policy", "build", EXAMPLE, "--out", "built.wasm"]).await?.ok()?;
    stage.world.write("core.wasm", "\0asm\u{1}\0\0\0")?;
    let good = place("policies/get-only:1.0.0");
    stage.run(&["policy", "push", "built.wasm", "--version", "1.0.0", "--oci-out", &good]).await?.ok()?;

    // Somebody changes the stored bytes: the layer's digest no longer holds.
    let blobs = registry.path("data/docker/registry/v2/blobs/sha256");
    let component = std::fs::read(stage.world.path("built.wasm"))?;
    let mut changed = 0;
    for entry in walk(&blobs)? {
        if std::fs::read(&entry)? == component {
            let mut bytes = component.clone();
            bytes[100] ^= 1;
            std::fs::write(&entry, bytes)?;
            changed += 1;
        }
    }
    ensure!(changed == 1, "one blob holds the component");
    for (arguments, expected) in [
        (vec!["policy", "pull", &good, "--out", "x.wasm"], "digest"),
        (vec!["policy", "pull", &place("policies/missing:1"), "--out", "x.wasm"], "missing"),
        (vec!["policy", "pull", "registry.test/a:1"], "does not begin with oci://"),
        (vec!["policy", "pull", "oci://"], "oci://"),
        (vec!["policy", "push", "core.wasm", "--oci-out", &place("policies/core:1")], "core.wasm"),
        (vec!["policy", "push", "built.wasm"], "--sandbox"),
    ] {
        let ran = stage.run(&arguments).await?;
        ensure!(ran.code != 0 && ran.stderr.to_lowercase().contains(expected), "{arguments:?}: {ran:?}");
    }
    ensure!(!stage.world.path("x.wasm").exists(), "nothing was written");
    Ok(())
}

/// Every file below a directory.
fn walk(directory: &std::path::Path) -> Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { files.extend(walk(&path)?) } else { files.push(path) }
    }
    Ok(files)
}
