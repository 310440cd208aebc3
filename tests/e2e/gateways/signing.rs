//! The key that signs what sandboxes enforce turns while a sandbox works.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{TRAFFIC, unbroken};
use crate::support::{READ_ONLY, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn the_signing_key_turns_under_traffic() -> Result<()> {
    let stage = Stage::new().await?;
    stage.rules(READ_ONLY).await?.ok()?;
    stage.run(&["sandbox", "create", "--name", "idle", "--runtime", "process"]).await?.ok()?;
    stage.run(&["sandbox", "stop", "idle"]).await?.ok()?;
    let script = format!("URL={}/traffic; {TRAFFIC}", stage.api);
    let traffic = stage.world.command(&["sandbox", "exec", "demo", "--", "sh", "-c", &script]);
    let mut traffic = tokio::process::Command::from(traffic).kill_on_drop(true).spawn()?;
    let demo = async || -> Result<Value> { stage.run(&["sandbox", "get", "demo", "-o", "json"]).await?.ok()?.json() };
    let before = demo().await?;

    let turned = stage.run(&["gateway", "rotate-signing-key", "-o", "json"]).await?.ok()?.json()?;
    ensure!(turned["awaits"] == json!([]) && turned["previous"].is_string(), "{turned}");
    let (old, new) = (&turned["previous"], &turned["key"]);
    let after = demo().await?;
    ensure!(after["generation"].as_u64() == before["generation"].as_u64().map(|number| number + 1), "{after}");
    let again = stage.run(&["gateway", "rotate-signing-key"]).await?;
    ensure!(again.code == 1 && again.stderr.contains("rotate-signing-key --finish"), "{again:?}");

    // The sandbox comes back to a gateway that starts again, before the turn is finished and after it.
    stage.run(&["gateway", "upgrade"]).await?.ok()?;
    let finished = stage.run(&["gateway", "rotate-signing-key", "--finish"]).await?.ok()?;
    ensure!(finished.stdout.contains("no other key is trusted"), "{finished:?}");
    stage.run(&["gateway", "upgrade"]).await?.ok()?;
    stage.check(&[("curl -sS -X POST $API/x", "policy_denied")]).await?;
    stage.rules(READ_ONLY).await?.ok()?;
    stage.run(&["policy", "rollback", "demo", "--to", "2"]).await?.ok()?;
    // One that was stopped all the time has what the old key signed on its disk; it starts.
    stage.run(&["sandbox", "start", "idle"]).await?.ok()?;
    stage.run(&["sandbox", "exec", "idle", "--", "true"]).await?.ok()?;
    stage.run(&["sandbox", "create", "--name", "later", "--runtime", "process"]).await?.ok()?;
    stage.run(&["audit", "verify"]).await?.ok()?;
    for key in [old, new] {
        stage.run(&["audit", "verify", "--key", key.as_str().context("a key")?]).await?.ok()?;
    }
    let export = stage.run(&["audit", "export"]).await?.ok()?.stdout.clone();
    let file = stage.world.write("trail.jsonl", &export)?.display().to_string();
    stage.run(&["audit", "verify", "--key", old.as_str().context("a key")?, "--file", &file]).await?.ok()?;
    let other = format!("ed25519:{}", "07".repeat(32));
    ensure!(stage.run(&["audit", "verify", "--key", &other]).await?.code != 0, "nobody vouches for that one");

    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(traffic.try_wait()?.is_none(), "the command did not live through it");
    unbroken(&stage.inside("cat seen").await?.ok()?.stdout, 10)?;
    Ok(())
}
