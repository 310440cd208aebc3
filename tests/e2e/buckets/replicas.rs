//! Three gateways of one PostgreSQL and one bucket.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_on_one_is_read_by_the_others() -> Result<()> {
    let authority = Authority::new()?;
    let bucket = Bucket::new(&authority)?;
    let front = bucket.front()?;
    let shared = Shared::new()?;
    let stage = Stage::within(shared.world(bucket.world()?), &authority, &[], "true").await?;
    let others =
        [shared.gateway(bucket.world()?, &authority).await?, shared.gateway(bucket.world()?, &authority).await?];
    stage.rules(FULL).await?.ok()?;
    stage.run(&["policy", "build", EXAMPLE, "--out", "built.wasm"]).await?.ok()?;
    let built = stage.world.path("built.wasm").display().to_string();
    let pushed = push(&stage, &built, "first", &[]).await?.ok()?.json()?;
    let digest = pushed["module"]["digest"].as_str().context("a digest")?;
    enforced(&stage, "first").await?;

    for (world, name) in others.iter().zip(["second", "third"]) {
        let status = finish(world.command(&["gateway", "status", "-g", "local", "-o", "json"])).await?.ok()?.json()?;
        let token = std::fs::read_to_string(world.path("state/openshell/gateway/admin.token"))?;
        let component = format!("{}/v1/modules/{digest}/component", status["url"].as_str().context("a URL")?);
        let bearer = format!("Authorization: Bearer {}", token.trim());
        let got = tokio::process::Command::new("curl").args(["-sSk", "-H", &bearer, &component]).output().await?;
        ensure!(got.stdout == std::fs::read(&built)?, "{} bytes came from {name}", got.stdout.len());
        // Compiled there, from what the bucket has, and enforced here.
        let push = ["policy", "push", &built, "--name", name, "--binding", "example", "--sandbox", "demo"];
        finish(world.command(&[&push[..], &["--settings", SETTINGS]].concat())).await?.ok()?;
        enforced(&stage, name).await?;
    }
    ensure!(bucket.modules()?.len() == 1);

    // One that does not know the bucket would find nothing.
    let apart = shared.world(World::new()?);
    refused(finish(apart.command(&["gateway", "start"])).await, &["are kept in s3://modules/prod"]).await?;
    drop(front);
    Ok(())
}
