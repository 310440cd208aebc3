//! A gateway that is backed up while its sandbox works, lost, and restored.

use anyhow::{Result, ensure};
use openshell_tests::world::{World, finish};

use super::{TRAFFIC, at, unbroken};
use crate::support::{FULL, READ_ONLY, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_gateway_has_its_sandboxes_and_its_trail() -> Result<()> {
    let stage = Stage::new().await?;
    let run = async |words: &[&str]| stage.run(words).await;
    stage.rules(READ_ONLY).await?.ok()?;
    run(&["user", "create", "vera", "--role", "viewer"]).await?.ok()?;
    let passphrase = stage.world.write("passphrase", "correct horse battery\n")?.display().to_string();
    let file = stage.world.path("monday.backup").display().to_string();
    let script = format!("URL={}/traffic; {TRAFFIC}", stage.api);
    let traffic = stage.world.command(&["sandbox", "exec", "demo", "--", "sh", "-c", &script]);
    let mut traffic = tokio::process::Command::from(traffic).kill_on_drop(true).spawn()?;

    // Made while rules are pushed and decisions come in.
    let backup = ["gateway", "backup", &file, "--passphrase-file", &passphrase, "-o", "json"];
    let (made, pushed) = tokio::join!(run(&backup), stage.rules(READ_ONLY));
    pushed?.ok()?;
    let made = made?.ok()?.json()?;
    ensure!(made["encrypted"] == true && made["bytes"].as_u64() > Some(10_000), "{made}");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file)?) & 0o777;
    ensure!(mode == 0o600, "{mode:o}");
    let again = run(&["gateway", "backup", &file, "--passphrase-file", &passphrase]).await?;
    ensure!(again.code == 1 && again.stderr.contains("is there already"), "{again:?}");
    let asked = run(&["gateway", "backup", "other"]).await?;
    ensure!(asked.code == 1 && asked.stderr.contains("no passphrase was given"), "{asked:?}");

    // Then things change, and the gateway is set back.
    stage.rules(FULL).await?.ok()?;
    stage.check(&[("curl -sS -o /dev/null -w '%{http_code}' -X POST -d x $API/x", "201")]).await?;
    run(&["user", "create", "late", "--role", "viewer"]).await?.ok()?;
    let restore = ["gateway", "restore", &file, "--passphrase-file", &passphrase];
    let forced = [&restore[..], &["--force", "-o", "json"]].concat();
    let busy = run(&forced).await?;
    ensure!(busy.code == 1 && busy.stderr.contains("is running") && busy.stderr.contains("gateway stop"), "{busy:?}");
    run(&["gateway", "stop"]).await?.ok()?;
    let refused = run(&restore).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("holds a gateway's state already"), "{refused:?}");
    let wrong = stage.world.write("wrong", "wrong horse battery\n")?.display().to_string();
    let refused = run(&["gateway", "restore", &file, "--force", "--passphrase-file", &wrong]).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("does not open"), "{refused:?}");
    let restored = run(&forced).await?.ok()?.json()?;
    ensure!(restored["removed_at_start"] == serde_json::json!([]) && restored["aside"].is_string(), "{restored}");
    run(&["gateway", "start"]).await?.ok()?;

    // Its sandbox has run on, comes back, and enforces what the backup says.
    let mut back = serde_json::Value::Null;
    for _ in 0..200 {
        back = run(&["sandbox", "get", "demo", "-o", "json"]).await?.ok()?.json()?;
        if back["connected"] == true {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    ensure!(back["connected"] == true && back["phase"] == "running", "{back}");
    let mut last = String::new();
    for _ in 0..100 {
        let ran = stage.inside("curl -sS -X POST -d x $API/x").await?;
        last = format!("{}{}", ran.stdout, ran.stderr);
        if last.contains("policy_denied") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    ensure!(last.contains("policy_denied"), "{last}");
    ensure!(traffic.try_wait()?.is_none(), "the command did not live through it");
    unbroken(&stage.inside("cat seen").await?.ok()?.stdout, 20)?;
    traffic.kill().await?;
    stage.rules(FULL).await?.ok()?;
    stage.check(&[("curl -sS -o /dev/null -w '%{http_code}' -X POST -d x $API/x", "201")]).await?;
    let users = run(&["user", "list", "-o", "json"]).await?.ok()?.stdout;
    ensure!(users.contains("vera") && !users.contains("late"), "{users}");
    run(&["audit", "verify"]).await?.ok()?;
    let told = run(&["audit", "list", "--action", "gateway.restore", "-o", "json"]).await?.ok()?.json()?;
    ensure!(told.as_array().is_some_and(|told| told.len() == 1), "{told}");

    // On another machine it is the same gateway: the same authority and token.
    let other = World::new()?;
    let there = async |words: &[&str]| finish(other.command(words)).await;
    there(&["gateway", "restore", &file, "--passphrase-file", &passphrase]).await?.ok()?;
    there(&["gateway", "start"]).await?.ok()?;
    let users = there(&["user", "list", "-o", "json"]).await?.ok()?.stdout;
    ensure!(users.contains("vera"), "{users}");
    there(&["audit", "verify"]).await?.ok()?;
    let ca = |world: &World| std::fs::read(world.path("state/openshell/gateway/ca.pem"));
    ensure!(ca(&other)? == ca(&stage.world)?, "another authority");
    // What ran on the first machine is not here.
    let away = at(&other, "local", &["sandbox", "get", "demo", "-o", "json"]).await?.ok()?.json()?;
    ensure!(away["connected"] == false, "{away}");
    Ok(())
}
