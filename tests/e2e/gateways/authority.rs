//! The gateway's authority turns while a sandbox works.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{TRAFFIC, unbroken};
use crate::support::{READ_ONLY, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_turns_under_traffic() -> Result<()> {
    let stage = Stage::new().await?;
    stage.rules(READ_ONLY).await?.ok()?;
    let script = format!("URL={}/traffic; {TRAFFIC}", stage.api);
    let traffic = stage.world.command(&["sandbox", "exec", "demo", "--", "sh", "-c", &script]);
    let mut traffic = tokio::process::Command::from(traffic).kill_on_drop(true).spawn()?;
    let authority = stage.world.path("state/openshell/gateway/ca.pem");
    let old = stage.world.write("old.pem", &std::fs::read_to_string(&authority)?)?.display().to_string();
    let url = stage.run(&["gateway", "status", "-o", "json"]).await?.ok()?.json()?["url"].clone();
    let url = format!("{}/healthz", url.as_str().context("a URL")?);
    let trusting = async |ca: &str| -> Result<bool> {
        let output = tokio::process::Command::new("curl").args(["-sS", "--cacert", ca, &url]).output().await?;
        ensure!(output.status.success() || output.status.code() == Some(60), "{output:?}");
        Ok(output.status.success())
    };
    ensure!(trusting(&old).await?);

    let turned = stage.run(&["gateway", "rotate-ca", "-o", "json"]).await?.ok()?.json()?;
    ensure!(turned["awaits"] == serde_json::json!([]) && turned["previous"].is_string(), "{turned}");
    let new = stage.world.write("new.pem", &std::fs::read_to_string(&authority)?)?.display().to_string();
    ensure!(trusting(&new).await?);
    let again = stage.run(&["gateway", "rotate-ca"]).await?;
    ensure!(again.code == 1 && again.stderr.contains("rotate-ca --finish"), "{again:?}");
    // The sandbox comes back to a gateway that starts again, before the turn is finished and after it.
    stage.run(&["gateway", "upgrade"]).await?.ok()?;
    let finished = stage.run(&["gateway", "rotate-ca", "--finish"]).await?.ok()?;
    ensure!(finished.stdout.contains("no other is trusted"), "{finished:?}");
    ensure!(trusting(&new).await? && !trusting(&old).await?);
    stage.run(&["gateway", "upgrade"]).await?.ok()?;
    stage.rules(READ_ONLY).await?.ok()?;
    stage.check(&[("curl -sS -X POST $API/x", "policy_denied")]).await?;
    stage.run(&["sandbox", "create", "--name", "later", "--runtime", "process"]).await?.ok()?;
    stage.run(&["audit", "verify"]).await?.ok()?;

    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(traffic.try_wait()?.is_none(), "the command did not live through it");
    unbroken(&stage.inside("cat seen").await?.ok()?.stdout, 10)?;
    Ok(())
}
