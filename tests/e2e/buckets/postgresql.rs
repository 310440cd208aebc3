//! Gateways that keep everything in PostgreSQL and a bucket: backed up and restored by the guide's own commands.

use super::*;
use crate::support::READ_ONLY;

const GUIDE: &str = include_str!("../../../docs/operations.md");
const SECRET: &str = "tok-that-outlives-its-database";

/// The guide's commands: how to back up, and how to restore.
fn commands() -> Result<(String, String)> {
    let (_, part) = GUIDE.split_once("## Back up PostgreSQL\n").context("the guide's part")?;
    let mut blocks = part.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let mut next = || blocks.next().map(|(block, _)| block.replace("s3://acme-modules/openshell", PLACE));
    let both = (next().context("a backup")?, next().context("a restore")?);
    ensure!(both.0.contains("pg_dump") && both.1.contains("pg_restore"), "{both:?}");
    Ok(both)
}

/// Runs commands of the guide where the backup is, or is to be.
fn by_the_guide(backup: &World, bucket: &Bucket, commands: &str, world: &World, database: &str) -> Result<()> {
    let script = bucket.server.path("owner.py").display().to_string();
    let keys = bucket.server.path("owner.keys").display().to_string();
    let owner = format!("{} {script} http://127.0.0.1:{} {keys}", python()?.display(), bucket.server.port);
    // Of `aws`, what the guide uses.
    let aws = format!("#!/bin/sh\n[ \"$1 $2\" = \"s3 sync\" ] && exec {owner} sync \"$3\" \"$4\"\nexit 1\n");
    std::fs::set_permissions(backup.write("bin/aws", &aws)?, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let path = format!("{}:{}", backup.path("bin").display(), std::env::var("PATH")?);
    let mut command = Command::new("sh");
    command.args(["-ec", commands]).current_dir(backup.root()).env("PATH", path);
    command.env("STATE", world.path("state/openshell/gateway"));
    command.env("OPENSHELL_DATABASE", database).env("RESTORED_DATABASE", database);
    let output = block_in_place(|| command.output())?;
    ensure!(output.status.success(), "{commands}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

async fn start(world: &World, database: &str, ca: &str) -> Result<Ran> {
    let mut start = world.command(&["gateway", "start", "--upstream-ca", ca]);
    start.env("OPENSHELL_DATABASE", database);
    finish(start).await?.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_guide_says_brings_back_database_keys_and_bucket() -> Result<()> {
    let (back_up, restore) = commands()?;
    let authority = Authority::new()?;
    let bucket = Bucket::new(&authority)?;
    let front = bucket.front()?;
    let postgres = block_in_place(Server::postgres)?;
    let stage = Stage::within(
        bucket.world()?.with_env("OPENSHELL_DATABASE", &database_url(&postgres)),
        &authority,
        &[],
        "true",
    )
    .await?;
    let ca = stage.world.path("origins.pem").display().to_string();
    stage.rules(FULL).await?.ok()?;
    stage.run(&["policy", "build", EXAMPLE, "--out", "built.wasm"]).await?.ok()?;
    push(&stage, "built.wasm", "first", &[]).await?.ok()?;
    enforced(&stage, "first").await?;
    let secret = stage.world.write("secret", SECRET)?.display().to_string();
    let create = ["provider", "create", "key", "--type", "generic", "--bearer", "--env", "API_TOKEN"];
    let bound = ["--host", "api.demo.test", "--binary", "/usr/bin/curl", "--from-file", &secret];
    stage.run(&[&create[..], &bound].concat()).await?.ok()?;

    // The gateway's own backup says where to look.
    let refusal = stage.run(&["gateway", "backup", "--unencrypted", "own.backup"]).await;
    refused(refusal, &["keeps everything in the database postgres at 127.0.0.1", "pg_dump", "Back up PostgreSQL"])
        .await?;
    let backup = World::new()?;
    by_the_guide(&backup, &bucket, &back_up, &stage.world, &database_url(&postgres))?;
    for file in ["monday.dump", "monday.keys.tar"] {
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(backup.path(file))?) & 0o777;
        ensure!(mode == 0o600, "{file}: {mode:o}");
    }

    // Things change, and then the database is lost.
    std::fs::write(stage.world.path("next.wasm"), changed(&stage.world.path("built.wasm"), "next")?)?;
    push(&stage, "next.wasm", "later", &[]).await?.ok()?;
    enforced(&stage, "later").await?;
    stage.run(&["user", "create", "late", "--role", "viewer"]).await?.ok()?;
    stage.run(&["gateway", "stop"]).await?.ok()?;
    drop(postgres);
    let second = block_in_place(Server::postgres)?;
    by_the_guide(&backup, &bucket, &restore, &stage.world, &database_url(&second))?;
    start(&stage.world, &database_url(&second), &ca).await?;
    // The sandbox has run on, and enforces what the dump says.
    connected(&stage).await?;
    let mut last = enforced(&stage, "first").await;
    for _ in 0..100 {
        if last.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        last = enforced(&stage, "first").await;
    }
    last?;
    let users = stage.run(&["user", "list", "-o", "json"]).await?.ok()?.stdout;
    ensure!(users.contains("admin") && !users.contains("late"), "{users}");
    stage.run(&["audit", "verify"]).await?.ok()?;
    push(&stage, "next.wasm", "later", &[]).await?.ok()?;
    enforced(&stage, "later").await?;
    stage.run(&["sandbox", "delete", "demo"]).await?.ok()?;
    stage.run(&["gateway", "stop"]).await?.ok()?;

    // Everything is lost: another machine, another database, another bucket.
    drop((front, bucket, second));
    let bucket = Bucket::new(&authority)?;
    let front = bucket.front()?;
    let third = block_in_place(Server::postgres)?;
    let other = bucket.world()?.with_env("OPENSHELL_DATABASE", &database_url(&third));
    by_the_guide(&backup, &bucket, &restore, &other, &database_url(&third))?;
    start(&other, &database_url(&third), &ca).await?;
    let there = async |words: &[&str]| finish(other.command(words)).await?.ok();
    there(&["audit", "verify"]).await?;
    let create = ["sandbox", "create", "--name", "fresh", "--provider", "key", "--add-host", "api.demo.test:127.0.0.1"];
    there(&create).await?;
    let rules = READ_ONLY.replace("PORT", &stage.origin.address.port().to_string());
    let rules = stage.world.write("fresh.yaml", &rules)?.display().to_string();
    there(&["policy", "set", "fresh", "--policy", &rules]).await?;
    // Compiled from what the copy of the bucket has, and the secret opens.
    let built = stage.world.path("built.wasm").display().to_string();
    let push = ["policy", "push", &built, "--name", "anew", "--binding", "example", "--sandbox", "fresh"];
    there(&[&push[..], &["--settings", SETTINGS]].concat()).await?;
    let script = format!(r#"curl -sS -H "Authorization: Bearer $API_TOKEN" {}/opened"#, stage.api);
    there(&["sandbox", "exec", "fresh", "--", "sh", "-c", &script]).await?;
    let seen = stage.origin.seen();
    let opened = seen.iter().find(|request| request.target == "/opened").context("it did not arrive")?;
    ensure!(opened.headers.get("authorization") == Some(&format!("Bearer {SECRET}")), "{opened:?}");
    drop(front);
    Ok(())
}
