//! What a sandbox proves about its walls, as people see it.

use anyhow::{Context as _, Result, ensure};

use crate::support::Stage;

const WALLED: &str = "version: 1
filesystem_policy: {include_workdir: true, read_only: [/usr, /etc], read_write: [/tmp]}
process: {run_as_user: sandbox}
network_policies:
  api:
    endpoints:
      - {host: api.demo.test, port: PORT, protocol: rest, access: read-only, allowed_ips: [127.0.0.0/8]}
    binaries: [{path: /usr/bin/curl}]
";

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_proves_its_walls() -> Result<()> {
    let stage = Stage::new().await?;
    let shown = stage.run(&["sandbox", "get", "demo"]).await?.ok()?.stdout;
    let line = shown.lines().find(|line| line.starts_with("enforcement: ")).context("no line about enforcement")?;
    let (proven, all) = line
        .trim_start_matches("enforcement: ")
        .strip_suffix(" proven")
        .and_then(|counts| counts.split_once('/'))
        .with_context(|| format!("not every wall is proven: {shown}"))?;
    ensure!(proven == all && all.parse::<u32>()? >= 50, "{line}");
    for check in ["dial-v4", "metadata", "io-uring", "user-namespace", "supervisor-files"] {
        ensure!(shown.lines().any(|line| line.starts_with(check) && line.contains("proven")), "{check}: {shown}");
    }
    let verified = stage.run(&["sandbox", "verify", "demo", "-o", "json"]).await?.ok()?.json()?;
    let checks = verified["checks"].as_array().context("checks")?;
    ensure!(checks.len().to_string() == all && checks.iter().all(|check| check["outcome"] == "proven"), "{verified}");
    let decisions = stage.run(&["decisions", "--sandbox", "demo", "-o", "json"]).await?.ok()?;
    ensure!(!decisions.stdout.contains("192.0.2.1"), "a probe's attempts are no decisions: {}", decisions.stdout);
    let listed = stage.run(&["sandbox", "list"]).await?.ok()?.stdout;
    ensure!(listed.contains(&format!("{all}/{all} proven")), "{listed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_build_the_walls_when_a_sandbox_is_created() -> Result<()> {
    let stage = Stage::new().await?;
    let rules = |yaml: &str| yaml.replace("PORT", &stage.origin.address.port().to_string());
    let file = stage.world.write("walled.yaml", &rules(WALLED))?.to_string_lossy().into_owned();
    let create = ["sandbox", "create", "--name", "walled", "--add-host", "api.demo.test:127.0.0.1", "--policy", &file];
    stage.run(&create).await?.ok()?;
    let inside = |script: String| {
        let stage = &stage;
        async move { stage.run(&["sandbox", "exec", "walled", "--", "/bin/sh", "-c", &script]).await }
    };
    for (script, expected) in [
        (format!("curl -sS {}/status", stage.api), "hello from the origin"),
        (format!("curl -sS -X POST {}/status", stage.api), "policy_denied"),
        ("id -un".into(), "sandbox"),
        ("echo x > mine && cat mine".into(), "x"),
        ("ls /opt 2>&1 || true".into(), "No such file"),
        ("touch /etc/x 2>&1 || true".into(), "touch: cannot touch"),
    ] {
        let ran = inside(script.clone()).await?.ok()?;
        ensure!(ran.stdout.contains(expected), "{script}: {ran:?}");
    }
    stage.run(&["sandbox", "verify", "walled"]).await?.ok()?;

    // The network part may change at any time, the walls never.
    let changed = stage.world.write("hot.yaml", &rules(&WALLED.replace("read-only,", "full,")))?;
    stage.run(&["policy", "set", "walled", "--policy", &changed.to_string_lossy()]).await?.ok()?;
    let wider = stage.world.write("wider.yaml", &rules(&WALLED.replace("[/usr, /etc]", "[/usr, /etc, /opt]")))?;
    let refused = stage.run(&["policy", "set", "walled", "--policy", &wider.to_string_lossy()]).await?;
    ensure!(refused.code == 1, "{refused:?}");
    for part in ["read_only from [/etc, /usr] to [/etc, /opt, /usr]", "fixed when it is created", "nothing was changed"]
    {
        ensure!(refused.stderr.contains(part), "{part:?} is missing: {}", refused.stderr);
    }
    let ran = inside(format!("curl -sS -X POST -d x=1 {}/items", stage.api)).await?.ok()?;
    ensure!(ran.stdout.contains(r#""method":"POST""#), "what was pushed before is still enforced: {ran:?}");

    let broken = stage.world.write("broken.yaml", "version: 1\nfilesystem_policy: {read_write: [/]}\n")?;
    let refused = stage.run(&["sandbox", "create", "--name", "open", "--policy", &broken.to_string_lossy()]).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("can't be writable"), "{refused:?}");
    ensure!(stage.run(&["sandbox", "get", "open"]).await?.code == 1, "nothing of it is left");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_own_files_can_not_be_shown() -> Result<()> {
    let stage = Stage::new().await?;
    let root = stage.world.root().to_string_lossy().into_owned();
    let yaml = format!("version: 1\nfilesystem_policy: {{include_workdir: true, read_only: [/usr, /etc, {root}]}}\n");
    let file = stage.world.write("curious.yaml", &yaml)?.to_string_lossy().into_owned();
    stage.run(&["sandbox", "create", "--name", "curious", "--policy", &file]).await?.ok()?;
    let script =
        format!("cat {root}/curious.yaml; find {root}/state -name '*.key' -o -name '*.db*' -o -name launch.json");
    let ran = stage.run(&["sandbox", "exec", "curious", "--", "/bin/sh", "-c", &script]).await?;
    ensure!(ran.stdout == yaml, "{ran:?}");
    stage.run(&["sandbox", "verify", "curious"]).await?.ok()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_supervisor_takes_its_workload_along() -> Result<()> {
    let stage = Stage::new().await?;
    let marker = format!("sleep 98{}", std::process::id());
    let script = format!("exec {marker}");
    stage.run(&["sandbox", "create", "--name", "doomed", "--detach", "--", "sh", "-c", &script]).await?.ok()?;
    let id = stage.run(&["sandbox", "get", "doomed", "-o", "json"]).await?.ok()?.json()?;
    let id = id["id"].as_str().context("an id")?.to_owned();
    let running = |what: &str| {
        let what = what.to_owned();
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter(|entry| {
                let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).replace('\0', " ").contains(&what)
            })
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .collect::<Vec<_>>()
    };
    let workload = running(&marker);
    ensure!(workload.len() == 1, "{workload:?}");
    let supervisor = running(&format!("{id}/launch.json"));
    ensure!(supervisor.len() == 1, "{supervisor:?}");
    let killed = std::process::Command::new("kill").args(["-9", &supervisor[0].to_string()]).status()?;
    ensure!(killed.success());
    for _ in 0..100 {
        if running(&marker).is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    ensure!(running(&marker).is_empty(), "the workload outlived its supervisor");
    for _ in 0..100 {
        let shown = stage.run(&["sandbox", "get", "doomed", "-o", "json"]).await?.ok()?.json()?;
        if shown["phase"] == "failed" {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    anyhow::bail!("the gateway did not notice")
}
