//! The gateway on this machine: replaced by a newer one under traffic, as a process and as a container.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use openshell_tests::origin::{Authority, Origin, OriginConfig};
use openshell_tests::world::{World, finish};
use tokio::net::TcpListener;
use tokio::task::block_in_place;

use super::{TRAFFIC, unbroken};
use crate::docker::{BUSYBOX, DEBIAN, Yard, yard};
use crate::support::{READ_ONLY, Stage};

/// Copies of the programs, as an installation that a newer one can be put over.
fn installed(at: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(at)?;
    for program in ["openshell", "openshell-gateway", "openshell-supervisor"] {
        renew(at, program)?;
    }
    Ok(at.to_owned())
}

/// Puts a program in the place of the one that is there, as a package manager does.
fn renew(at: &Path, program: &str) -> Result<()> {
    std::fs::copy(openshell_tests::world::binaries()?.join(program), at.join("new"))?;
    Ok(std::fs::rename(at.join("new"), at.join(program))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_drops_no_request_and_no_command() -> Result<()> {
    let world = World::new()?;
    let bin = installed(&world.path("bin"))?;
    let world = world.with_binaries(&bin);
    let stage = Stage::within(world, &Authority::new()?, &[], "true").await?;
    stage.rules(READ_ONLY).await?.ok()?;
    let gateway = async || stage.run(&["gateway", "status", "-o", "json"]).await?.ok()?.json();
    let before = gateway().await?;
    ensure!(before["form"] == "process", "{before}");
    let script = format!("URL={}/traffic; {TRAFFIC}", stage.api);
    let traffic = stage.world.command(&["sandbox", "exec", "demo", "--", "sh", "-c", &script]);
    let mut traffic = tokio::process::Command::from(traffic).kill_on_drop(true).spawn()?;
    tokio::time::sleep(Duration::from_secs(2)).await;

    for program in ["openshell-supervisor", "openshell-gateway", "openshell"] {
        renew(&bin, program)?;
    }
    stage.run(&["gateway", "upgrade"]).await?.ok()?;
    let after = gateway().await?;
    ensure!(after["pid"] != before["pid"] && after["url"] == before["url"], "{before} {after}");
    let running = std::fs::read_link(format!("/proc/{}/exe", after["pid"]))?;
    ensure!(running == bin.join("openshell-gateway"), "{running:?}");
    // With the arguments it was started with: else no origin would be trusted by what starts from now on.
    let words = std::fs::read_to_string(format!("/proc/{}/cmdline", after["pid"]))?;
    ensure!(words.contains("--upstream-ca"), "{words:?}");

    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(traffic.try_wait()?.is_none(), "the command did not live through it");
    stage.check(&[("curl -sS -X POST $API/x", "policy_denied")]).await?;
    stage.rules(READ_ONLY).await?.ok()?;
    unbroken(&stage.inside("cat seen").await?.ok()?.stdout, 10)?;
    traffic.kill().await?;

    // Everything goes, and no supervisor stays behind.
    let state = stage.world.path("state/openshell/gateway");
    stage.run(&["gateway", "remove", "local", "--purge", "--yes"]).await?.ok()?;
    ensure!(!state.exists(), "{} is still there", state.display());
    nobody_runs(&bin).await
}

/// Waits until no process runs a program of this directory: what a sandbox's first process leaves, the kernel ends, later.
async fn nobody_runs(bin: &Path) -> Result<()> {
    let mut left = String::new();
    for _ in 0..100 {
        let output = Command::new("pgrep").args(["-a", "-f", &format!("^{}", bin.display())]).output()?;
        left = String::from_utf8_lossy(&output.stdout).into_owned();
        if left.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("processes are left: {left}")
}

/// A yard without a gateway yet.
async fn empty_yard() -> Result<Option<(World, String)>> {
    let Some(Yard { world, engine, .. }) = yard().await? else { return Ok(None) };
    finish(world.command(&["gateway", "stop"])).await?.ok()?;
    drop(world);
    Ok(Some((World::new()?.with_env("DOCKER_HOST", &engine), engine)))
}

/// Leaves nothing in the engine, also where a test fails.
struct Purged<'a>(&'a World);

impl Drop for Purged<'_> {
    fn drop(&mut self) {
        let _ = block_in_place(|| self.0.run(&["gateway", "remove", "local", "--purge", "--yes"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_docker_its_sandboxes_are_containers_beside_it() -> Result<()> {
    let Some((world, engine)) = empty_yard().await? else { return Ok(()) };
    let _purged = Purged(&world);
    let run = async |words: &[&str]| finish(world.command(words)).await;
    let docker = |words: &[&str]| -> Result<String> {
        let output = Command::new("docker").args(words).env("DOCKER_HOST", &engine).output()?;
        ensure!(output.status.success(), "docker {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let listener = TcpListener::bind("0.0.0.0:0").await?;
    let authority = Authority::new()?;
    let config = OriginConfig { name: "api".into(), ..OriginConfig::default() };
    let origin = Origin::start(listener, config, Some((&authority, &["api.demo.test".to_owned()])))?;
    let ca = world.write("origins.pem", authority.pem())?.display().to_string();

    let started =
        run(&["gateway", "start", "--form", "docker", "--upstream-ca", &ca, "-o", "json"]).await?.ok()?.json()?;
    ensure!(started["form"] == "docker" && started["runtimes"] == serde_json::json!(["docker"]), "{started}");
    let state = world.path("state/openshell/gateway").canonicalize()?;
    let label = format!("label=dev.openshell.state={}", state.display());
    let container = docker(&["ps", "-q", "--no-trunc", "--filter", &label])?;
    let inspected: serde_json::Value = serde_json::from_str(&docker(&["inspect", &container])?)?;
    let host = &inspected[0]["HostConfig"];
    ensure!(host["CapDrop"] == serde_json::json!(["ALL"]) && host["Privileged"] == false, "{host}");
    ensure!(host["ReadonlyRootfs"] == true && host["RestartPolicy"]["Name"] == "unless-stopped", "{host}");
    let again = run(&["gateway", "start"]).await?.ok()?;
    ensure!(again.stderr.contains("is running already"), "{again:?}");

    let refused = run(&["sandbox", "create", "--runtime", "process"]).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("in a container itself"), "{refused:?}");
    let host = ["--add-host", "api.demo.test:host-gateway"];
    run(&[&["sandbox", "create", "--name", "demo", "--from", DEBIAN][..], &host].concat()).await?.ok()?;
    run(&["sandbox", "create", "--name", "other", "--from", BUSYBOX, "--network", "none"]).await?.ok()?;
    let rules = READ_ONLY.replace("PORT", &origin.address.port().to_string());
    let rules = world.write("rules.yaml", &rules.replace("127.0.0.0/8", "172.16.0.0/12"))?.display().to_string();
    run(&["policy", "set", "demo", "--policy", &rules]).await?.ok()?;
    let script = format!("cd /sandbox; URL=https://api.demo.test:{}/traffic; {TRAFFIC}", origin.address.port());
    let traffic = world.command(&["sandbox", "exec", "demo", "--", "sh", "-c", &script]);
    let mut traffic = tokio::process::Command::from(traffic).kill_on_drop(true).spawn()?;
    tokio::time::sleep(Duration::from_secs(2)).await;

    // As after a crash: the engine starts it again by itself, and it finds what it had.
    let pid = docker(&["inspect", "--format", "{{.State.Pid}}", &container])?;
    ensure!(Command::new("kill").args(["-9", &pid]).status()?.success());
    let mut back = run(&["sandbox", "list"]).await?;
    for _ in 0..100 {
        if back.code == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        back = run(&["sandbox", "list"]).await?;
    }
    ensure!(back.ok()?.stdout.contains("demo"));

    let upgraded = run(&["gateway", "upgrade", "-o", "json"]).await?.ok()?.json()?;
    ensure!(upgraded["url"] == started["url"] && upgraded["form"] == "docker", "{upgraded}");
    ensure!(docker(&["ps", "-q", "--no-trunc", "--filter", &label])? != container, "the container is the same");
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(traffic.try_wait()?.is_none(), "the command did not live through it");
    let seen = run(&["sandbox", "exec", "demo", "--", "cat", "/sandbox/seen"]).await?.ok()?.stdout;
    unbroken(&seen, 20)?;
    // One that stops and starts has the supervisor mounted that is there now.
    run(&["sandbox", "stop", "other"]).await?.ok()?;
    run(&["sandbox", "start", "other"]).await?.ok()?;
    run(&["policy", "set", "demo", "--policy", &rules]).await?.ok()?;
    traffic.kill().await?;

    run(&["gateway", "stop"]).await?.ok()?;
    let stopped = run(&["sandbox", "list"]).await?;
    ensure!(stopped.code == 1 && stopped.stderr.contains("no gateway is running"), "{stopped:?}");
    // Its sandboxes are found and removed even if it has to be started for it.
    run(&["gateway", "remove", "local", "--purge", "--yes"]).await?.ok()?;
    ensure!(docker(&["ps", "-aq", "--filter", &label])?.is_empty(), "the gateway's container is left");
    let gateway = docker(&[
        "ps",
        "-a",
        "--filter",
        "label=dev.openshell.sandbox",
        "--format",
        "{{.Label \"dev.openshell.name\"}}",
    ])?;
    ensure!(!gateway.lines().any(|name| name == "other"), "sandboxes are left: {gateway}");
    ensure!(!state.exists(), "{} is left", state.display());
    Ok(())
}

/// A user without a systemd, whose gateway is where it usually is.
struct Newcomer {
    world: World,
}

impl Newcomer {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.world.command(words);
        command.env("HOME", self.world.path("home")).env("XDG_RUNTIME_DIR", "/nowhere");
        command.env_remove("XDG_STATE_HOME").env_remove("OPENSHELL_RUNTIME");
        command
    }

    async fn run(&self, words: &[&str]) -> Result<openshell_tests::world::Ran> {
        finish(self.command(words)).await
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        let _ = block_in_place(|| self.command(&["gateway", "remove", "local", "--purge", "--yes"]).output());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_machine_that_never_saw_it_an_engine_is_used_unless_sandboxes_are_to_be_processes() -> Result<()> {
    let Some((world, _)) = empty_yard().await? else { return Ok(()) };
    let newcomer = Newcomer { world };
    std::fs::create_dir_all(newcomer.world.path("home"))?;
    let form = async || {
        let status = newcomer.run(&["gateway", "status", "-o", "json"]).await?.ok()?.json()?;
        anyhow::Ok(status["form"].as_str().unwrap_or_default().to_owned())
    };
    for (words, variable) in
        [(&["gateway", "start", "--runtime", "process"][..], None), (&["gateway", "start"], Some("process"))]
    {
        let mut start = newcomer.command(words);
        start.envs(variable.map(|word| ("OPENSHELL_RUNTIME", word)));
        finish(start).await?.ok()?;
        ensure!(form().await? == "process", "{words:?}: {}", form().await?);
        newcomer.run(&["gateway", "remove", "local", "--purge", "--yes"]).await?.ok()?;
    }

    // It needs nothing but the engine, and reads files of the machine that variables name.
    let passphrase = newcomer.world.write("passphrase", "correct horse battery\n")?;
    let create = ["sandbox", "create", "--name", "first", "--from", BUSYBOX, "--network", "none"];
    let mut create = newcomer.command(&create);
    create.env("OPENSHELL_PASSPHRASE_FILE", &passphrase);
    finish(create).await?.ok()?;
    ensure!(form().await? == "docker", "{}", form().await?);
    let said = newcomer.run(&["sandbox", "exec", "first", "--", "echo", "here"]).await?.ok()?;
    ensure!(said.stdout == "here\n", "{said:?}");
    let key = std::fs::read_to_string(newcomer.world.path("home/.local/state/openshell/gateway/secrets.key"))?;
    ensure!(key.contains("argon2id"), "{key}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_engine_and_no_systemd_answer_is_said() -> Result<()> {
    let world = World::new()?.with_env("DOCKER_HOST", "unix:///nowhere.sock").with_env("XDG_RUNTIME_DIR", "/nowhere");
    for (form, fact) in
        [("docker", "no Docker engine of this machine answers"), ("service", "no systemd of this user's")]
    {
        let refused = finish(world.command(&["gateway", "start", "--form", form])).await?;
        ensure!(refused.code == 1 && refused.stderr.contains(fact), "{refused:?}");
        ensure!(refused.stderr.contains("hint: "), "{refused:?}");
    }
    // What did not come up is not what is started next.
    let started = finish(world.command(&["gateway", "start", "-o", "json"])).await?.ok()?.json()?;
    ensure!(started["form"] == "process", "{started}");
    started["pid"].as_u64().context("a pid").map(drop)
}
