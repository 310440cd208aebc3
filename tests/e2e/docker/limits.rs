//! Limits that bite, and what is left of processes that end.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};

use super::{BUSYBOX, Yard, yard};
use crate::support::eventually;

/// Of a process of this machine: see `proc_pid_stat(5)`.
struct Process {
    parent: u32,
    /// `Z`: it has ended, and nobody has asked how.
    state: char,
    name: String,
}

impl Process {
    /// `None`: it has ended meanwhile.
    fn read(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (before, after) = stat.rsplit_once(')')?;
        let mut fields = after.split_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        Some(Self { parent, state, name: before.split_once('(')?.1.to_owned() })
    }
}

/// All processes whose ancestor is this one, whatever namespaces they are in.
fn below(root: u32) -> Result<Vec<Process>> {
    let pids = std::fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut all: HashMap<u32, Process> = pids.filter_map(|pid| Some((pid, Process::read(pid)?))).collect();
    let (mut found, mut parents) = (Vec::new(), vec![root]);
    while let Some(parent) = parents.pop() {
        let children: Vec<u32> = all.iter().filter(|(_, one)| one.parent == parent).map(|(pid, _)| *pid).collect();
        found.extend(children.iter().filter_map(|pid| all.remove(pid)));
        parents.extend(children);
    }
    Ok(found)
}

/// The container's first process, as this machine numbers it.
async fn first_process(yard: &Yard, name: &str) -> Result<u32> {
    let pid = yard.container(name).await?["State"]["Pid"].as_u64().context("it runs")?;
    Ok(u32::try_from(pid)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn more_memory_than_is_granted_ends_the_command_and_not_the_sandbox() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    yard.create("small", BUSYBOX, &["--memory", "192m"]).await?.ok()?;
    let first = first_process(&yard, "small").await?;
    // 2 to the given power bytes, and twice that while they are copied.
    let take = |power: u32| {
        format!(r#"awk 'BEGIN {{ s = "x"; for (i = 0; i < {power}; i++) s = s s }}' 2>&1; echo ended with $?"#)
    };
    yard.check("small", &[(&take(23), "ended with 0"), (&take(29), "ended with 137"), ("echo alive", "alive")]).await?;
    let sandbox = yard.sandbox("small").await?;
    ensure!(sandbox["phase"] == "running" && sandbox["connected"] == true, "{sandbox}");
    ensure!(first_process(&yard, "small").await? == first, "its container was started again");

    // A sandbox's own command that is ended so shows as one that was killed.
    let command = ["--memory", "192m", "--", "awk", r#"BEGIN { s = "x"; for (i = 0; i < 29; i++) s = s s }"#];
    let ran = yard.create("greedy", BUSYBOX, &command).await?;
    ensure!(ran.code == 137, "{ran:?}");
    ensure!(yard.until("greedy", "exited").await?["exit_code"] == 137, "{}", yard.sandbox("greedy").await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn more_processes_than_are_granted_are_refused_and_the_sandbox_lives_on() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    yard.create("few", BUSYBOX, &["--pids", "80"]).await?.ok()?;
    let script = "i=0; while [ $i -lt 200 ]; do sleep 3 & i=$((i+1)); done; echo all were made";
    let ran = yard.exec("few", &["sh", "-c", script]).await?;
    ensure!(ran.code != 0 && ran.stderr.contains("can't fork") && !ran.stdout.contains("all were made"), "{ran:?}");
    eventually(
        "there is room again",
        150,
        async || Ok(yard.exec("few", &["echo", "alive"]).await?.stdout == "alive\n"),
    )
    .await?;
    let sandbox = yard.sandbox("few").await?;
    ensure!(sandbox["phase"] == "running" && sandbox["connected"] == true, "{sandbox}");
    // As many as fit are made, once those are gone.
    let script = "i=0; while [ $i -lt 20 ]; do sleep 1 & i=$((i+1)); done; echo all were made; wait";
    eventually("as many as fit", 100, async || {
        Ok(yard.exec("few", &["sh", "-c", script]).await?.stdout == "all were made\n")
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_of_commands_that_have_ended_leave_no_zombie_anywhere() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    yard.create("parent", BUSYBOX, &[]).await?.ok()?;
    let first = first_process(&yard, "parent").await?;
    let sleeping = || Ok::<_, anyhow::Error>(below(first)?.iter().filter(|one| one.name == "sleep").count());
    // Each forks twice, and its parent ends: in a session of its own, or in the command's.
    let script = "for n in $(seq 20); do (setsid sleep 5 >/dev/null 2>&1 &); (sleep 5 >/dev/null 2>&1 &); done";
    yard.exec("parent", &["sh", "-c", script]).await?.ok()?;
    ensure!(sleeping()? > 0, "no orphan outlives its command");
    eventually("the orphans end", 100, async || Ok(sleeping()? == 0)).await?;
    eventually("they are reaped", 50, async || Ok(below(first)?.iter().all(|one| one.state != 'Z'))).await?;
    ensure!(below(first)?.iter().any(|one| one.name.contains("supervisor")), "this machine does not see its processes");
    yard.check("parent", &[("ps -o stat | grep -c ^Z || true", "0")]).await
}
