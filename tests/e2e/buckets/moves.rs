//! Modules change their home, and a gateway is restored whose modules were in a bucket.

use super::*;

/// `openshell-gateway move-modules`, as the world's gateway is told to.
async fn moved(world: &World, home: &str, ca: &str) -> Result<Ran> {
    let state = world.path("state/openshell/gateway").display().to_string();
    let mut command = Command::new(openshell_tests::world::binaries()?.join("openshell-gateway"));
    command.args(["move-modules", "--state-dir", &state, "--upstream-ca", ca, "--modules", PLACE, "--to", home]);
    command.envs(world.command(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env_remove("OPENSHELL_MODULES");
    finish(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_move_into_a_bucket_and_back_and_a_backup_says_where_they_are() -> Result<()> {
    let authority = Authority::new()?;
    let bucket = Bucket::new(&authority)?;
    let front = bucket.front()?;
    // As one that never heard of a bucket; what it would need of it is in its variables all the same.
    let (id, secret) = bucket.key()?;
    let world = World::new()?.with_env("AWS_ENDPOINT_URL_S3", &bucket.url());
    let world = world.with_env("AWS_ACCESS_KEY_ID", &id).with_env("AWS_SECRET_ACCESS_KEY", &secret);
    let stage = Stage::within(world, &authority, &[], "true").await?;
    let ca = stage.world.path("origins.pem").display().to_string();
    let start = async |more: &[&str]| stage.run(&[&["gateway", "start", "--upstream-ca", &ca], more].concat()).await;
    stage.rules(FULL).await?.ok()?;
    stage.run(&["policy", "build", EXAMPLE, "--out", "built.wasm"]).await?.ok()?;
    push(&stage, "built.wasm", "first", &[]).await?.ok()?;
    let plan = std::fs::read_to_string(stage.world.path("state/openshell/gateway/start.json"))?;
    ensure!(!plan.contains(&secret), "a key was kept that is none of the gateway's");

    // Old modules stay where they are until somebody moves them.
    stage.run(&["gateway", "stop"]).await?.ok()?;
    start(&["--modules", PLACE]).await?.ok()?;
    connected(&stage).await?;
    push(&stage, "built.wasm", "second", &[]).await?.ok()?;
    ensure!(bucket.modules()?.is_empty(), "it was there already");
    let busy = moved(&stage.world, "bucket", &ca).await?;
    ensure!(busy.code == 1 && busy.stderr.contains("gateway stop"), "{busy:?}");
    stage.run(&["gateway", "stop"]).await?.ok()?;
    let all = moved(&stage.world, "bucket", &ca).await?.ok()?.json()?;
    let count = all["modules"].as_u64().context("a number")?;
    ensure!(count >= 3 && all["bucket"] == PLACE, "{all}");
    ensure!(bucket.modules()?.len() as u64 == count);
    ensure!(moved(&stage.world, "bucket", &ca).await?.ok()?.json()?["modules"] == 0, "twice");

    // From now on it needs it.
    let told = format!("{count} modules are kept in {PLACE}");
    refused(start(&[]).await, &[&told, "--modules"]).await?;
    refused(start(&["--modules", "s3://modules/other"]).await, &[&told]).await?;
    start(&["--modules", PLACE]).await?.ok()?;
    connected(&stage).await?;
    enforced(&stage, "second").await?;
    push(&stage, "built.wasm", "third", &[]).await?.ok()?;
    enforced(&stage, "third").await?;

    let passphrase = stage.world.write("passphrase", "correct horse battery\n")?.display().to_string();
    let file = stage.world.path("monday.backup").display().to_string();
    let backup = stage.run(&["gateway", "backup", &file, "--passphrase-file", &passphrase]).await?.ok()?;
    let note = format!("{count} modules are in {PLACE} and not in this backup");
    ensure!(backup.stderr.contains(&note), "{}", backup.stderr);

    // Restored elsewhere, it says what it needs, and has all of it then.
    let other = bucket.world()?;
    let there = async |words: &[&str]| finish(other.command(words)).await;
    let restored = there(&["gateway", "restore", &file, "--passphrase-file", &passphrase]).await?.ok()?;
    ensure!(restored.stderr.contains(&format!("start it with --modules {PLACE}")), "{}", restored.stderr);
    let mut forgetful = other.command(&["gateway", "start", "--upstream-ca", &ca]);
    forgetful.env_remove("OPENSHELL_MODULES").env_remove("OPENSHELL_MODULES_ENDPOINT");
    refused(finish(forgetful).await, &[&told]).await?;
    there(&["gateway", "start", "--upstream-ca", &ca]).await?.ok()?;
    there(&["sandbox", "create", "--name", "fresh"]).await?.ok()?;
    let built = stage.world.path("built.wasm").display().to_string();
    let push_there = ["policy", "push", &built, "--name", "fourth", "--sandbox", "fresh", "--settings", SETTINGS];
    there(&push_there).await?.ok()?;

    // And back: the bucket may go then.
    stage.run(&["gateway", "stop"]).await?.ok()?;
    ensure!(moved(&stage.world, "database", &ca).await?.ok()?.json()?["modules"] == count);
    drop(front);
    start(&[]).await?.ok()?;
    connected(&stage).await?;
    push(&stage, "built.wasm", "fifth", &[]).await?.ok()?;
    enforced(&stage, "fifth").await?;
    stage.run(&["audit", "verify"]).await?.ok()?;
    let told = stage.run(&["audit", "list", "--action", "modules.move", "-o", "json"]).await?.ok()?.json()?;
    ensure!(told.as_array().is_some_and(|told| told.len() == 3), "{told}");
    Ok(())
}
