//! What is put into a bucket and never comes to be named: it goes, and nothing else does.

use std::path::PathBuf;

use tokio::task::JoinHandle;

use super::*;

impl Bucket {
    /// The server waits with the next request for a module: `before-PUT`, `after-PUT` and so on. Until it is dropped.
    fn held(&self, when: &str) -> Result<Held> {
        let file = self.server.path(when);
        std::fs::write(&file, "")?;
        Ok(Held { file })
    }
}

struct Held {
    file: PathBuf,
}

impl Held {
    /// Waits until a request waits.
    async fn arrived(&self) -> Result<()> {
        let mark = self.file.with_extension("arrived");
        eventually("a request", 200, async || Ok(mark.exists())).await
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
        let _ = std::fs::remove_file(self.file.with_extension("arrived"));
    }
}

/// Kills the gateway, and waits until it is gone.
async fn kill(world: &World) -> Result<()> {
    let pid = kill_gateway(world)?;
    eventually("its end", 100, async || Ok(!PathBuf::from(format!("/proc/{pid}")).exists())).await
}

/// `policy push` beside this test.
fn pushing(world: &World, file: &str, name: &str) -> JoinHandle<Result<Ran>> {
    let words = ["policy", "push", file, "--sandbox", "demo", "--binding", "example", "--settings", SETTINGS];
    tokio::spawn(finish(world.command(&[&words[..], &["--name", name]].concat())))
}

async fn started(stage: &Stage) -> Result<()> {
    let ca = stage.world.path("origins.pem").display().to_string();
    stage.run(&["gateway", "start", "--upstream-ca", &ca]).await?.ok().map(drop)
}

/// Pushes a file while the server waits, kills the gateway, and lets the server go on. Nothing has come to name what was put.
async fn killed_meanwhile(stage: &Stage, bucket: &Bucket, when: &str) -> Result<()> {
    let before = bucket.modules()?.len();
    let held = bucket.held(when)?;
    let push = pushing(&stage.world, "built.wasm", "first");
    held.arrived().await?;
    kill(&stage.world).await?;
    drop(held);
    let ended = push.await??;
    ensure!(ended.code != 0, "{ended:?}");
    eventually("what was put", 50, async || Ok(bucket.modules()?.len() == before + 1)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_gateway_had_put_goes_and_the_same_bytes_put_again_stay() -> Result<()> {
    let authority = Authority::new()?;
    let bucket = Bucket::new(&authority)?;
    let front = bucket.front()?;
    let stage = stage_with_example(&bucket, &authority).await?;
    let foreign = stage.world.write("foreign", "somebody else's")?.display().to_string();
    killed_meanwhile(&stage, &bucket, "after-PUT").await?;
    let left = bucket.modules()?;
    let beside = left[0].replace(".wasm", "-not-ours.wasm");
    let beside = beside.split(' ').next().context("a key")?;
    bucket.owner(&["put", beside, &foreign])?;

    // Its removal is on its way and slow while the same bytes are put once more.
    let held = bucket.held("before-DELETE")?;
    started(&stage).await?;
    connected(&stage).await?;
    held.arrived().await?;
    let pushed = push(&stage, "built.wasm", "second", &[]).await?.ok()?.json()?;
    let digest = pushed["module"]["digest"].as_str().context("a digest")?;
    ensure!(bucket.modules()?.len() == 3, "{:?}", bucket.modules()?);
    drop(held);
    eventually("an end of what is left", 200, async || Ok(!bucket.modules()?.contains(&left[0]))).await?;
    // Whatever arrives late, and however often is looked: what is named stays, and what others put.
    tokio::time::sleep(Duration::from_secs(22)).await;
    let kept = bucket.modules()?;
    ensure!(kept.len() == 2 && kept.iter().any(|line| line.starts_with(beside)), "{kept:?}");
    bucket.owner(&["delete", beside])?;
    push(&stage, "built.wasm", "third", &[]).await?.ok()?;
    enforced(&stage, "third").await?;
    ensure!(!bucket.object(digest)?.is_empty());
    drop(front);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_slow_server_takes_after_it_was_removed_goes_too() -> Result<()> {
    let authority = Authority::new()?;
    let bucket = Bucket::new(&authority)?;
    let front = bucket.front()?;
    let stage = stage_with_example(&bucket, &authority).await?;
    let held = bucket.held("before-PUT")?;
    let push = pushing(&stage.world, "built.wasm", "first");
    held.arrived().await?;
    kill(&stage.world).await?;
    ensure!(push.await??.code != 0);
    started(&stage).await?;
    let removed = || anyhow::Ok(std::fs::read_to_string(front.path("access.log"))?.contains("\"DELETE /modules/prod/"));
    eventually("a removal", 200, async || removed()).await?;
    ensure!(bucket.modules()?.is_empty(), "{:?}", bucket.modules()?);
    drop(held);
    eventually("what came late", 100, async || Ok(bucket.modules()?.len() == 1)).await?;
    eventually("an end of it", 900, async || Ok(bucket.modules()?.is_empty())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_away_or_lets_nobody_remove_hinders_nothing() -> Result<()> {
    let authority = Authority::new()?;
    let bucket = Bucket::new(&authority)?;
    let front = bucket.front()?;
    let stage = stage_with_example(&bucket, &authority).await?;
    std::fs::write(stage.world.path("next.wasm"), changed(&stage.world.path("built.wasm"), "next")?)?;
    push(&stage, "next.wasm", "next", &[]).await?.ok()?;
    let named = bucket.modules()?;
    killed_meanwhile(&stage, &bucket, "after-PUT").await?;
    drop(front);
    started(&stage).await?;
    connected(&stage).await?;
    enforced(&stage, "next").await?;
    let log = || std::fs::read_to_string(stage.world.path("state/openshell/gateway/gateway.log"));
    let told = "objects that no module names stay in the bucket for now";
    eventually("a word of it", 300, async || Ok(log()?.contains(told))).await?;
    stage.run(&["gateway", "stop"]).await?.ok()?;

    // With a key that may not remove, everything else works, and it is said what is missing.
    let keys = stage.world.path("keys");
    let copy = |name: &str| -> Result<()> {
        std::fs::copy(bucket.server.path(name), &keys)?;
        Ok(std::fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o600))?)
    };
    copy("writer.keys")?;
    let front = bucket.front()?;
    let ca = stage.world.path("origins.pem").display().to_string();
    let start = ["gateway", "start", "--upstream-ca", &ca, "--modules", PLACE];
    stage.run(&[&start[..], &["--modules-keys", &keys.display().to_string()]].concat()).await?.ok()?;
    connected(&stage).await?;
    eventually("a word of the right", 100, async || Ok(log()?.contains("s3:DeleteObject"))).await?;
    push(&stage, "next.wasm", "again", &[]).await?.ok()?;
    enforced(&stage, "again").await?;
    let status = gateway(&stage).await?;
    ensure!(status["bucket"] == serde_json::json!({ "place": PLACE }), "it works: {status}");
    ensure!(metric(&stage).await? == "1" && bucket.modules()?.len() == 2, "{:?}", bucket.modules()?);
    // It is read anew for each request.
    copy("gateway.keys")?;
    eventually("an end of what is left", 500, async || Ok(bucket.modules()? == named)).await?;
    eventually("nothing left", 50, async || Ok(metric(&stage).await? == "0")).await?;
    drop(front);
    Ok(())
}

/// How many objects are left, as the gateway tells its monitor.
async fn metric(stage: &Stage) -> Result<String> {
    let status = gateway(stage).await?;
    let token = std::fs::read_to_string(stage.world.path("state/openshell/gateway/admin.token"))?;
    let (url, bearer) = (
        format!("{}/metrics", status["url"].as_str().context("a URL")?),
        format!("Authorization: Bearer {}", token.trim()),
    );
    let ran = tokio::process::Command::new("curl").args(["-sSk", "-H", &bearer, &url]).output().await?;
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("openshell_modules_bucket_left "));
    line.map(str::to_owned).with_context(|| text.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_gateways_one_may_take_what_the_other_puts_for_left() -> Result<()> {
    let authority = Authority::new()?;
    let bucket = Bucket::new(&authority)?;
    let front = bucket.front()?;
    let shared = Shared::new()?;
    let stage = Stage::within(shared.world(bucket.world()?), &authority, &[], "true").await?;
    let other = shared.gateway(bucket.world()?, &authority).await?;
    stage.rules(FULL).await?.ok()?;
    stage.run(&["policy", "build", EXAMPLE, "--out", "built.wasm"]).await?.ok()?;
    let built = stage.world.path("built.wasm").display().to_string();
    // As if it took longer than any attempt does.
    let old = || -> Result<()> {
        let sql = "UPDATE module_puts SET begun_ms = begun_ms - 700000 WHERE given_up = 0";
        let done = Command::new("psql").args([&shared.url, "-qc", sql]).output()?;
        ensure!(done.status.success(), "{done:?}");
        Ok(())
    };

    // The other one removes what this one is still putting, and puts the same itself: that one stays, for both.
    let held = bucket.held("after-PUT")?;
    let slow = pushing(&stage.world, &built, "slow");
    held.arrived().await?;
    let first = bucket.modules()?;
    old()?;
    eventually("an end of what seems left", 200, async || Ok(bucket.modules()?.is_empty())).await?;
    let quick = pushing(&other, &built, "quick");
    eventually("another one", 100, async || Ok(bucket.modules()?.len() == 1)).await?;
    ensure!(bucket.modules()? != first);
    drop(held);
    quick.await??.ok()?;
    slow.await??.ok()?;
    let named = bucket.modules()?;
    ensure!(named.len() == 1, "{named:?}");
    for (world, name) in [(&stage.world, "here"), (&other, "there")] {
        pushing(world, &built, name).await??.ok()?;
        enforced(&stage, name).await?;
    }

    // Nobody else puts it: nothing is stored that has no bytes, and the next push is one.
    std::fs::write(stage.world.path("next.wasm"), changed(&stage.world.path("built.wasm"), "next")?)?;
    let held = bucket.held("after-PUT")?;
    let slow = pushing(&stage.world, "next.wasm", "next");
    held.arrived().await?;
    old()?;
    eventually("an end of what seems left", 200, async || Ok(bucket.modules()? == named)).await?;
    drop(held);
    refused(slow.await?, &["took too long to reach the bucket", "push it once more"]).await?;
    enforced(&stage, "there").await?;
    push(&stage, "next.wasm", "next", &[]).await?.ok()?;
    enforced(&stage, "next").await?;
    ensure!(bucket.modules()?.len() == 2, "{:?}", bucket.modules()?);
    drop(front);
    Ok(())
}
