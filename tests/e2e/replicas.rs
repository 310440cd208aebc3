//! Three gateways on one PostgreSQL, real sandboxes beside each: one policy for all of them, keys that turn, and one gateway that is killed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use openshell_tests::origin::Authority;
use openshell_tests::world::{Ran, World, finish};

use crate::support::{FULL, READ_ONLY, Shared, Stage, kill_gateway};

async fn run(world: &World, arguments: &[&str]) -> Result<Ran> {
    finish(world.command(arguments)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_reaches_the_sandboxes_of_three_gateways_and_one_may_be_killed() -> Result<()> {
    let shared = Shared::new()?;
    let authority = Authority::new()?;
    let stage = Stage::within(shared.world(World::new()?), &authority, &[], "true").await?;
    let second = shared.gateway(World::new()?, &authority).await?;
    let third = shared.gateway(World::new()?, &authority).await?;
    for (world, name) in [(&second, "two"), (&third, "three")] {
        run(world, &["sandbox", "create", "--name", name, "--add-host", "api.demo.test:127.0.0.1"]).await?.ok()?;
    }
    let yaml = |text: &str| text.replace("PORT", &stage.origin.address.port().to_string());
    let rules = stage.world.write("all.yaml", &yaml(READ_ONLY))?;
    let curl = |method: &str| format!("curl -sS -o /dev/null -w '%{{http_code}}' -X {method} {}/x", stage.api);
    for name in ["demo", "two", "three"] {
        stage.run(&["policy", "set", name, "--policy", &rules.to_string_lossy()]).await?.ok()?;
        for world in [&stage.world, &second, &third] {
            for (method, code) in [("GET", "200"), ("POST", "403")] {
                let ran = run(world, &["sandbox", "exec", name, "--", "sh", "-c", &curl(method)]).await?.ok()?;
                ensure!(ran.stdout == code, "{name} {method}: {}", ran.stdout);
            }
        }
    }

    // Keys turn by any of them, for all of them.
    for (world, command) in [(&second, "rotate-ca"), (&third, "rotate-signing-key")] {
        run(world, &["gateway", command]).await?.ok()?;
        let began = Instant::now();
        while run(&stage.world, &["gateway", command, "--finish"]).await?.code != 0 {
            ensure!(began.elapsed() < Duration::from_secs(20), "{command} is not finished");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let writes = second.write("writes.yaml", &yaml(FULL))?;
    for policy in [writes, rules] {
        let code = if policy.ends_with("all.yaml") { "403" } else { "201" };
        for (world, name) in [(&third, "demo"), (&stage.world, "two"), (&second, "three")] {
            run(world, &["policy", "set", name, "--policy", &policy.to_string_lossy()]).await?.ok()?;
            let ran = run(world, &["sandbox", "exec", name, "--", "sh", "-c", &curl("POST")]).await?.ok()?;
            ensure!(ran.stdout == code, "{name}: {}", ran.stdout);
        }
    }
    run(&second, &["audit", "verify"]).await?.ok()?;

    kill_gateway(&stage.world)?;
    let killed = Instant::now();
    while run(&second, &["sandbox", "exec", "demo", "--", "true"]).await?.code != 0 {
        ensure!(killed.elapsed() < Duration::from_secs(20), "its sandbox does not move to another gateway");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let more = second.write("more.yaml", &yaml(FULL))?;
    run(&second, &["policy", "set", "demo", "--policy", &more.to_string_lossy()]).await?.ok()?;
    let ran = run(&third, &["sandbox", "exec", "demo", "--", "sh", "-c", &curl("POST")]).await?.ok()?;
    ensure!(ran.stdout == "201", "{}", ran.stdout);
    run(&third, &["audit", "verify"]).await?.ok()?;
    // It comes back to what is its own.
    let ca = stage.world.write("origins.pem", authority.pem())?;
    stage.run(&["gateway", "start", "--upstream-ca", &ca.to_string_lossy()]).await?.ok()?;
    run(&third, &["sandbox", "stop", "demo"]).await?.ok()?;
    run(&second, &["sandbox", "start", "demo"]).await?.ok()?;
    stage.check(&[(&curl("POST"), "201")]).await
}
