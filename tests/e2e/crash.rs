//! `kill -9` on the gateway loses nothing that was acknowledged, and sandboxes keep enforcing.

use anyhow::{Result, ensure};

use crate::support::{FULL, READ_ONLY, Stage, kill_gateway};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_loses_nothing_and_sandboxes_keep_enforcing() -> Result<()> {
    let stage = Stage::new().await?;
    stage.rules(READ_ONLY).await?.ok()?;
    // Enforcement is seen from outside the gateway: a loop in the sandbox writes what it gets.
    let script = format!(
        "for n in $(seq 200); do curl -sS -o /dev/null -w '%{{http_code}} ' {0}/get; \
         curl -sS -o /dev/null -w '%{{http_code}} ' -X POST {0}/post; sleep 0.05; done > codes; touch done",
        stage.api
    );
    let mut background = stage
        .world
        .command(&["sandbox", "create", "--name", "worker", "--add-host", "api.demo.test:127.0.0.1"])
        .spawn()?;
    ensure!(background.wait()?.success());
    let yaml = READ_ONLY.replace("PORT", &stage.origin.address.port().to_string());
    let path = stage.world.write("worker.yaml", &yaml)?;
    stage.run(&["policy", "set", "worker", "--policy", &path.to_string_lossy()]).await?.ok()?;
    stage
        .run(&["sandbox", "exec", "worker", "--", "sh", "-c", &format!("({script}) </dev/null >/dev/null 2>&1 &")])
        .await?
        .ok()?;

    for _ in 0..3 {
        kill_gateway(&stage.world)?;
        stage.run(&["gateway", "start"]).await?.ok()?;
    }
    let mut codes = String::new();
    for _ in 0..600 {
        let ran = stage.run(&["sandbox", "exec", "worker", "--", "sh", "-c", "test -e done && cat codes"]).await?;
        if ran.code == 0 {
            codes = ran.stdout;
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let codes: Vec<&str> = codes.split_whitespace().collect();
    ensure!(codes.len() == 400, "the loop did not finish: {codes:?}");
    for pair in codes.chunks(2) {
        ensure!(pair == ["200", "403"], "enforcement wavered: {codes:?}");
    }

    // What was acknowledged is still there.
    let listed = stage.run(&["sandbox", "list", "-o", "json"]).await?.ok()?.json()?;
    ensure!(listed.as_array().is_some_and(|sandboxes| sandboxes.len() == 2), "{listed}");
    stage.rules(FULL).await?.ok()?;
    stage.check(&[("curl -sS -X POST $API/x", r#""method":"POST""#)]).await?;
    let decisions = stage.run(&["decisions", "--sandbox", "worker", "--limit", "2000", "-o", "json"]).await?.ok()?;
    let posts = decisions.stdout.matches("/post").count();
    ensure!(posts >= 200, "decisions made while the gateway was away are missing: {posts} of 200");
    Ok(())
}
