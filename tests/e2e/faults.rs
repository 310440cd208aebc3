//! What runs out: descriptors and disk. The sandbox keeps judging, says what is wrong, and recovers by itself.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use openshell_tests::origin::Authority;
use openshell_tests::world::World;

use crate::support::{FULL, READ_ONLY, Stage, eventually};

/// Holds many connections at once, says how many were closed at once or refused, then lets all go.
const MANY: &str = "
import socket, sys, time
kept, refused = [], 0
for n in range(400):
    try:
        s = socket.create_connection(('api.demo.test', int(sys.argv[1])), timeout=10)
        s.settimeout(0.02)
        try:
            s.recv(1)
            refused += 1
        except TimeoutError:
            kept.append(s)
    except OSError:
        refused += 1
print('refused', refused, 'held', len(kept))
";

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_takes_all_descriptors_hinders_only_itself() -> Result<()> {
    let stage = Stage::within(World::new()?, &Authority::new()?, &[], "ulimit -n 300").await?;
    let port = stage.origin.address.port();
    let rules = READ_ONLY.replace("/usr/bin/curl", "'**'");
    stage.rules(&rules).await?.ok()?;
    stage.upload("many.py", MANY).await?;
    let ran = stage.inside(&format!("python3 many.py {port}")).await?.ok()?;
    let count = |word: &str| -> Result<u32> {
        let mut words = ran.stdout.split_whitespace().skip_while(|found| *found != word);
        words.nth(1).and_then(|number| number.parse().ok()).with_context(|| ran.stdout.clone())
    };
    ensure!(count("refused")? > 100, "300 files can't hold 400 connections: {}", ran.stdout);
    ensure!(count("held")? > 20, "{}", ran.stdout);
    stage.check(&[("curl -sS -m 20 -o /dev/null -w '%{http_code}' $API/after", "200")]).await?;
    // The supervisor had descriptors left for its own work all the time.
    stage.rules(&rules.replace("read-only", "full")).await?.ok()?;
    let logs = stage.run(&["sandbox", "get", "demo", "-o", "json"]).await?.ok()?.json()?;
    ensure!(logs["phase"] == "running", "{logs}");
    Ok(())
}

/// A file system of its own, gone when dropped.
struct Disk(std::path::PathBuf);

impl Disk {
    fn mount(at: std::path::PathBuf, megabytes: u32) -> Result<Self> {
        std::fs::create_dir_all(&at)?;
        let size = format!("size={megabytes}m,mode=755");
        ensure!(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).status()?.success());
        Ok(Self(at))
    }

    /// Takes all that is left.
    fn fill(&self) -> Result<()> {
        let to = format!("of={}", self.0.join("filler").display());
        let output = Command::new("dd").args(["if=/dev/zero", "bs=64k", &to]).output()?;
        ensure!(!output.status.success(), "the disk has no end");
        Ok(())
    }

    fn free(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.0.join("filler"))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Waits for leave, then asks for what is allowed and what is not, twenty times.
const ROUNDS: &str = "read go; for round in $(seq 20); do
    curl -sS -m 20 -o /dev/null -w '%{http_code} ' API/get
    curl -sS -m 20 -o /dev/null -w '%{http_code} ' -X POST API/post
done";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_changes_no_verdict_and_no_policy() -> Result<()> {
    let world = World::new()?;
    let disk = Disk::mount(world.path("state"), 256)?;
    let stage = Stage::within(world, &Authority::new()?, &[], "true").await?;
    stage.rules(READ_ONLY).await?.ok()?;
    let verdicts: [(&str, &str); 2] = [
        ("curl -sS -m 20 -o /dev/null -w '%{http_code}' $API/get", "200"),
        ("curl -sS -m 20 -o /dev/null -w '%{http_code}' -X POST $API/post", "403"),
    ];
    stage.check(&verdicts).await?;

    // A command that is there before, for no new one runs without its place in the audit trail.
    let rounds = ROUNDS.replace("API", &stage.api);
    let mut command = stage.world.command(&["sandbox", "exec", "demo", "--", "sh", "-c", &rounds]);
    let mut running = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    tokio::time::sleep(Duration::from_secs(2)).await;

    disk.fill()?;
    // A running sandbox judges as before.
    running.stdin.take().context("piped")?.write_all(b"go\n")?;
    let judged = tokio::task::spawn_blocking(move || running.wait_with_output()).await??;
    let judged = String::from_utf8_lossy(&judged.stdout).into_owned();
    ensure!(judged == "200 403 ".repeat(20), "{judged}");
    let refused = stage.inside("true").await?;
    ensure!(refused.code != 0 && refused.stderr.contains("full"), "nobody would know of it: {refused:?}");
    let pushed = stage.rules(FULL).await?;
    ensure!(pushed.code != 0, "a push was acknowledged that can't have been kept: {pushed:?}");
    let told = ["full", "No space left"].iter().any(|word| pushed.stderr.contains(word));
    ensure!(told, "the reason is not told: {}", pushed.stderr);

    disk.free()?;
    eventually("a push after there is room", 200, async || Ok(stage.rules(FULL).await?.code == 0)).await?;
    stage.check(&[("curl -sS -m 20 -o /dev/null -w '%{http_code}' -X POST $API/room", "201")]).await?;
    eventually("new decisions are kept", 200, async || {
        let decisions = stage.run(&["decisions", "--sandbox", "demo", "-o", "json"]).await?;
        Ok(decisions.code == 0 && decisions.stdout.contains("/room"))
    })
    .await?;
    drop(stage);
    Ok(())
}
