//! Sandboxes that end, stop and start again.

use anyhow::{Result, ensure};

use crate::support::{READ_ONLY, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_sandbox_starts_again_with_what_it_held() -> Result<()> {
    let stage = Stage::new().await?;
    stage.rules(READ_ONLY).await?.ok()?;
    stage.check(&[("echo kept > note; curl -sS $API/", "hello from the origin")]).await?;
    let before = stage.run(&["sandbox", "get", "demo", "-o", "json"]).await?.ok()?.json()?;

    stage.run(&["sandbox", "stop", "demo"]).await?.ok()?;
    stage.run(&["sandbox", "stop", "demo"]).await?.ok()?;
    let stopped = stage.run(&["sandbox", "get", "demo", "-o", "json"]).await?.ok()?.json()?;
    ensure!(stopped["phase"] == "stopped" && stopped["connected"] == false, "{stopped}");
    let refused = stage.inside("true").await?;
    ensure!(refused.code == 1 && refused.stderr.contains("sandbox start demo"), "{refused:?}");
    let logs = stage.run(&["sandbox", "logs", "demo"]).await?.ok()?;
    ensure!(logs.stdout.contains("the sandbox has ended"), "{}", logs.stdout);

    stage.run(&["sandbox", "start", "demo"]).await?.ok()?;
    let after = stage.run(&["sandbox", "get", "demo", "-o", "json"]).await?.ok()?.json()?;
    for same in ["id", "generation", "name", "created_at"] {
        ensure!(before[same] == after[same], "{same} changed: {before} {after}");
    }
    ensure!(after["phase"] == "running", "{after}");
    stage
        .check(&[
            ("cat note; curl -sS $API/", "kept\nhello from the origin"),
            ("curl -sS -X POST $API/x", "policy_denied"),
        ])
        .await?;
    let again = stage.run(&["sandbox", "start", "demo"]).await?;
    ensure!(again.code == 1 && again.stderr.contains("runs already"), "{again:?}");
    // A push reaches it as before.
    stage.rules(READ_ONLY).await?.ok()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_is_a_state_with_a_code_and_its_log_stays() -> Result<()> {
    let stage = Stage::new().await?;
    let script = "echo run >> runs; wc -l < runs; exit 7";
    let ran = stage.run(&["sandbox", "create", "-q", "--name", "once", "--", "sh", "-c", script]).await?;
    ensure!(ran.code == 7 && ran.stdout.trim() == "1", "{ran:?}");
    let exited = stage.run(&["sandbox", "get", "once", "-o", "json"]).await?.ok()?.json()?;
    ensure!(exited["phase"] == "exited" && exited["exit_code"] == 7, "{exited}");
    stage.run(&["sandbox", "start", "once"]).await?.ok()?;
    let mut state = exited;
    for _ in 0..100 {
        state = stage.run(&["sandbox", "get", "once", "-o", "json"]).await?.ok()?.json()?;
        if state["phase"] == "exited" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    ensure!(state["phase"] == "exited" && state["exit_code"] == 7, "{state}");
    stage.run(&["sandbox", "stop", "once"]).await?.ok()?;
    let stopped = stage.run(&["sandbox", "get", "once", "-o", "json"]).await?.ok()?.json()?;
    ensure!(stopped["phase"] == "stopped" && stopped["exit_code"] == 7, "{stopped}");
    let logs = stage.run(&["sandbox", "logs", "once"]).await?.ok()?.stdout;
    ensure!(logs.contains("1\n") && logs.contains("2\n") && logs.matches("exited with code 7").count() == 2, "{logs}");
    Ok(())
}

/// More than any tail, the last line without an end, and a straggler that holds the pipe open.
#[tokio::test(flavor = "multi_thread")]
async fn no_line_is_lost_between_the_last_word_and_the_exit_code() -> Result<()> {
    let stage = Stage::new().await?;
    let script = "sleep 1000 & seq 12000; seq 3 >&2; printf last; exit 3";
    let ran = stage.run(&["sandbox", "create", "-q", "--name", "talks", "--", "sh", "-c", script]).await?;
    let mut expected: String = (1..=12000).map(|n| format!("{n}\n")).collect();
    expected.push_str("last\n");
    ensure!(
        ran.code == 3 && ran.stdout == expected,
        "{} bytes of {}, code {}",
        ran.stdout.len(),
        expected.len(),
        ran.code
    );
    ensure!(ran.stderr == "1\n2\n3\n", "{}", ran.stderr);
    Ok(())
}
