//! What workloads write: whoever sees their end sees all of it, and where some is missing, that is said.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::support::{Stage, eventually, kill_gateway};

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_an_end_sees_the_whole_log() -> Result<()> {
    let stage = Stage::new().await?;
    let expected: String = (1..=9000).map(|n| format!("{n}\n")).collect();
    for round in 1..=5 {
        let (name, script) = (format!("ends-{round}"), format!("seq 9000; exit {round}"));
        stage.run(&["sandbox", "create", "-q", "--detach", "--name", &name, "--", "sh", "-c", &script]).await?.ok()?;
        let mut sandbox = serde_json::Value::Null;
        for _ in 0..500 {
            sandbox = stage.run(&["sandbox", "get", &name, "-o", "json"]).await?.ok()?.json()?;
            if sandbox["phase"] == "exited" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        ensure!(sandbox["phase"] == "exited" && sandbox["exit_code"] == round, "{sandbox}");
        let logs = stage.run(&["sandbox", "logs", &name, "--tail", "20000"]).await?.ok()?.stdout;
        let end = format!("the workload exited with code {round}\n");
        // The supervisor's own lines come in between.
        let written: String = logs.lines().filter(|l| !l.starts_with('[')).map(|l| format!("{l}\n")).collect();
        ensure!(written == expected && logs.contains(&end), "{} of {} bytes", written.len(), expected.len());
    }
    Ok(())
}

/// More than the 64 MiB that wait for a gateway, written while there is none.
#[tokio::test(flavor = "multi_thread")]
async fn what_found_no_room_while_the_gateway_was_away_is_told_in_its_place() -> Result<()> {
    let stage = Stage::new().await?;
    let script = "echo first; until [ -e go ]; do sleep 0.05; done; \
        yes \"$(head -c 16000 /dev/zero | tr '\\0' x)\" | head -n 6000; echo last; touch done; exec sleep 1000";
    stage.run(&["sandbox", "create", "-q", "--detach", "--name", "loud", "--", "sh", "-c", script]).await?.ok()?;
    let logged = async |line: &str| -> Result<bool> {
        let logs = stage.run(&["sandbox", "logs", "loud", "--tail", "5"]).await?;
        Ok(logs.stdout.lines().any(|found| found.ends_with(line)))
    };
    eventually("it has begun", 300, async || logged("first").await).await?;
    // The supervisor's own word of that may come after the workload's first one, and must not be among those that are lost.
    eventually("its supervisor has said so", 300, async || logged("the sandbox is sealed and runs").await).await?;
    let sandbox = stage.run(&["sandbox", "get", "loud", "-o", "json"]).await?.ok()?.json()?;
    let id = sandbox["id"].as_str().context("an id")?;
    let workspace = stage.world.path(&format!("state/openshell/gateway/sandboxes/{id}/workspace"));
    kill_gateway(&stage.world)?;
    std::fs::write(workspace.join("go"), "")?;
    eventually("it has written all", 1200, async || Ok(workspace.join("done").exists())).await?;
    stage.run(&["gateway", "start"]).await?.ok()?;
    eventually("the gateway has it", 1200, async || logged("last").await).await?;

    let logs = stage.run(&["sandbox", "logs", "loud", "--tail", "10000", "-o", "json"]).await?.ok()?;
    ensure!(logs.stderr.contains("warning: ") && logs.stderr.contains(" lines were dropped here: "), "{}", logs.stderr);
    let lines = logs.json()?;
    let lines = lines.as_array().context("lines")?;
    let place = |wanted: &dyn Fn(&serde_json::Value) -> bool| lines.iter().position(wanted).context("no such line");
    let missing = place(&|line| line["lost"].is_u64())?;
    let (first, last) = (place(&|line| line["line"] == "first")?, place(&|line| line["line"] == "last")?);
    ensure!(first < missing && missing < last, "{first} {missing} {last}");
    let kept = lines.iter().filter(|line| line["line"].as_str().is_some_and(|text| text.len() == 16000)).count();
    let lost: u64 = lines.iter().filter_map(|line| line["lost"].as_u64()).sum();
    ensure!(lost > 1000 && kept as u64 + lost == 6000, "{kept} are kept, {lost} are said to be lost");
    Ok(())
}
