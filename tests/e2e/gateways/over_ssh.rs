//! Gateways on machines that OpenSSH reaches: this one by a server of the test's own, and one with a systemd of its own in a
//! container.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use openshell_tests::origin::{Authority, Origin, OriginConfig};
use openshell_tests::servers::Server;
use openshell_tests::world::{Ran, World, finish};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::block_in_place;

use super::{TRAFFIC, unbroken};
use crate::docker::{BUSYBOX, Yard, yard};
use crate::support::READ_ONLY;

/// A machine that `ssh` knows as `big`, seen from a world of its own.
struct Machine {
    world: World,
    /// What the configuration file of `ssh` says.
    config: PathBuf,
    /// A port that the configuration forwards, and no tunnel of ours may.
    never: u16,
    _sshd: Option<Server>,
}

impl Machine {
    /// This machine by a server of the test's own, whose sessions keep everything in the world's directory `there`.
    fn this(world: World, engine: &str) -> Result<Self> {
        let there = world.path("there");
        std::fs::create_dir_all(&there)?;
        let at = |below: &str| there.join(below).display().to_string();
        let environment = format!(
            "SetEnv XDG_STATE_HOME={} XDG_DATA_HOME={} XDG_CONFIG_HOME={} DOCKER_HOST={engine} OPENSHELL_RUNTIME=docker",
            at("state"),
            at("data"),
            at("config")
        );
        let sshd = Server::sshd_with(&environment)?;
        let public = std::fs::read_to_string(sshd.path("host.pub"))?;
        let host = format!(
            "HostName 127.0.0.1\n    Port {}\n    User root\n    IdentityFile {}",
            sshd.port,
            sshd.path("client").display()
        );
        let known = format!("[127.0.0.1]:{} {public}", sshd.port);
        Self::reached(world, &host, &known, Some(sshd))
    }

    fn reached(world: World, host: &str, known: &str, sshd: Option<Server>) -> Result<Self> {
        let known = world.write("known_hosts", known)?;
        let never = openshell_tests::servers::free_port()?;
        let config = format!(
            "Host big\n    {host}\n    IdentitiesOnly yes\n    UserKnownHostsFile {}\n    GlobalKnownHostsFile none\n    \
             StrictHostKeyChecking yes\n    ForwardAgent yes\n    LocalForward 127.0.0.1:{never} 127.0.0.1:9\n",
            known.display()
        );
        let config = world.write("ssh_config", &config)?;
        let ssh = world.write("ssh", &format!("#!/bin/sh\nexec ssh -F {} \"$@\"\n", config.display()))?;
        std::fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let world = world.with_env("OPENSHELL_SSH", &ssh.display().to_string()).with_env("XDG_RUNTIME_DIR", "");
        Ok(Self { world, config, never, _sshd: sshd })
    }

    async fn run(&self, words: &[&str]) -> Result<Ran> {
        finish(self.world.command(words)).await
    }

    /// Waits until a command succeeds.
    async fn until(&self, words: &[&str]) -> Result<Ran> {
        let mut last = self.run(words).await?;
        for _ in 0..60 {
            if last.code == 0 {
                return Ok(last);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            last = self.run(words).await?;
        }
        last.ok()
    }

    /// Runs a command there by `ssh` itself.
    fn ssh(&self, script: &str) -> Result<String> {
        let output =
            Command::new("ssh").arg("-F").arg(&self.config).args(["big", script]).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{script}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Its background connections.
    fn masters(&self) -> Result<Vec<u32>> {
        let pattern = format!("ssh.*{}/", self.world.root().display());
        let found = Command::new("pgrep").args(["-f", &pattern]).output()?;
        Ok(String::from_utf8(found.stdout)?.lines().filter_map(|line| line.trim().parse().ok()).collect())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.world.run(&["gateway", "remove", "big", "--purge", "--yes"]);
        for pid in self.masters().unwrap_or_default() {
            let _ = Command::new("kill").arg(pid.to_string()).status();
        }
    }
}

/// An origin that machines and containers can reach.
async fn origin(authority: &Authority) -> Result<Origin> {
    let config = OriginConfig { name: "api".into(), ..OriginConfig::default() };
    Origin::start(TcpListener::bind("0.0.0.0:0").await?, config, Some((authority, &["api.demo.test".to_owned()])))
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_and_sshd_are_enough() -> Result<()> {
    let Some(Yard { world, engine, .. }) = yard().await? else { return Ok(()) };
    drop(world);
    let machine = block_in_place(|| Machine::this(World::new()?, &engine))?;
    let docker = |words: &[&str]| -> Result<String> {
        let output = Command::new("docker").args(words).env("DOCKER_HOST", &engine).output()?;
        ensure!(output.status.success(), "docker {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let added =
        machine.run(&["gateway", "add", "big", "--remote", "big", "--form", "docker", "-o", "json"]).await?.ok()?;
    ensure!(added.json()?["kind"] == "ssh", "{added:?}");
    let listed = machine.run(&["gateway", "list", "-o", "json"]).await?.ok()?.json()?;
    let big = listed.as_array().and_then(|all| all.iter().find(|one| one["name"] == "big")).context("it is listed")?;
    ensure!(big["state"] == "answers" && big["selected"] == true && big["address"] == "ssh://big", "{big}");
    // Kept here: where it is, whom to trust, its token. No key.
    let kept = machine.world.path("config/openshell/gateways/big");
    let mut files: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(&kept)? {
        let path = entry?.path();
        ensure!(!std::fs::read_to_string(&path)?.contains("PRIVATE KEY"), "{} holds a key", path.display());
        files.push(path.file_name().context("a name")?.to_string_lossy().into_owned());
    }
    files.sort();
    ensure!(files == ["gateway.json", "token"], "{files:?}");

    machine.run(&["sandbox", "create", "--name", "faraway", "--from", BUSYBOX, "--network", "none"]).await?.ok()?;
    let ran = machine.run(&["sandbox", "exec", "faraway", "--", "echo", "there"]).await?.ok()?;
    ensure!(ran.stdout == "there\n", "{ran:?}");
    // One connection serves them all, and forwards nothing else that the configuration names.
    ensure!(machine.masters()?.len() == 1, "{:?}", machine.masters()?);
    let forwarded = std::net::TcpStream::connect(("127.0.0.1", machine.never));
    ensure!(forwarded.is_err(), "the configuration's own forwarding is open");

    // The connection is cut while a command runs: it goes on where it was.
    let script = "n=0; while read line; do n=$((n+1)); echo \"$n $line\"; done; exit 6";
    let mut command = machine.world.command(&["sandbox", "exec", "faraway", "--", "sh", "-c", script]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    let mut input = child.stdin.take().context("input")?;
    let mut lines = BufReader::new(child.stdout.take().context("output")?).lines();
    for n in 1..=9 {
        input.write_all(format!("line {n}\n").as_bytes()).await?;
        if n % 3 == 0 {
            for pid in machine.masters()? {
                ensure!(Command::new("kill").args(["-9", &pid.to_string()]).status()?.success());
            }
        }
        let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await??;
        ensure!(line.as_deref() == Some(&*format!("{n} line {n}")), "line {n}: {line:?}");
    }
    drop(input);
    let ended = child.wait_with_output().await?;
    ensure!(ended.status.code() == Some(6), "{ended:?}");

    // Several that find no tunnel open one.
    for pid in machine.masters()? {
        ensure!(Command::new("kill").args(["-9", &pid.to_string()]).status()?.success());
    }
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(tokio::spawn(finish(machine.world.command(&["sandbox", "list"]))));
    }
    for one in all {
        one.await??.ok()?;
    }
    ensure!(machine.masters()?.len() == 1, "{:?}", machine.masters()?);

    // One that was stopped there is said to be, and started by whoever wants a sandbox.
    machine.ssh("\"$XDG_DATA_HOME/openshell/bin/openshell\" gateway stop")?;
    let stopped = machine.run(&["sandbox", "list"]).await?;
    ensure!(stopped.code == 1, "{stopped:?}");
    let created = machine.run(&["sandbox", "create", "--name", "more", "--from", BUSYBOX, "--network", "none"]).await?;
    ensure!(created.ok()?.stderr.contains("the gateway big does not run: starting it"));

    // A new version, put over the old one; another port there changes nothing here.
    let state = machine.world.path("there/state/openshell/gateway").canonicalize()?;
    let label = format!("label=dev.openshell.state={}", state.display());
    let before = docker(&["ps", "-q", "--filter", &label])?;
    machine.run(&["gateway", "upgrade", "big"]).await?.ok()?;
    ensure!(docker(&["ps", "-q", "--filter", &label])? != before, "the container is the same");
    ensure!(machine.run(&["sandbox", "exec", "faraway", "--", "echo", "still"]).await?.ok()?.stdout == "still\n");

    let status = machine.run(&["doctor", "-g", "big", "-o", "json"]).await?.json()?;
    let check = |name: &str| status.as_array().and_then(|all| all.iter().find(|check| check["name"] == name)).cloned();
    ensure!(check("ssh").is_some_and(|check| check["state"] == "ok"), "{status}");

    // Another gateway of that engine, of the same version: what it uses stays, and is no failure.
    let container = docker(&["ps", "-q", "--filter", &label])?;
    let image = docker(&["inspect", "--format", "{{.Image}}", &container])?;
    let neighbour = docker(&["create", &image])?;
    let removed = machine.run(&["gateway", "remove", "big", "--purge", "--yes"]).await;
    ensure!(docker(&["rm", &neighbour])? == neighbour);
    removed?.ok()?;
    ensure!(docker(&["images", "-q", "--no-trunc"])?.contains(&image), "the neighbour's image is gone");
    ensure!(docker(&["ps", "-aq", "--filter", &label])?.is_empty(), "the container is left");
    ensure!(
        !docker(&["ps", "-a", "--format", "{{.Label \"dev.openshell.name\"}}"])?.lines().any(|name| name == "faraway")
    );
    let left = machine.ssh("find \"$XDG_STATE_HOME\" \"$XDG_DATA_HOME\" -type f 2>/dev/null || true")?;
    ensure!(left.is_empty(), "files are left there: {left}");
    ensure!(machine.masters()?.is_empty(), "the tunnel is left");
    ensure!(!kept.exists() && machine.run(&["gateway", "list"]).await?.ok()?.stdout.lines().count() <= 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ssh_says_is_passed_on_with_a_hint() -> Result<()> {
    let machine = block_in_place(|| Machine::this(World::new()?, "unix:///nowhere.sock"))?;
    let port = openshell_tests::servers::free_port()?;
    let config = std::fs::read_to_string(&machine.config)?;
    let broken = |from: &str, to: &str| std::fs::write(&machine.config, config.replace(from, to));
    let known = format!("UserKnownHostsFile {}", machine.world.path("known_hosts").display());
    let key = config.lines().find(|line| line.contains("IdentityFile")).context("a key")?.to_owned();
    let server = config.lines().find(|line| line.contains("    Port")).context("a port")?.to_owned();
    for (from, to, fact, hint) in [
        (known.as_str(), "UserKnownHostsFile /dev/null", "Host key verification failed", "compare the fingerprint"),
        (&key, "    IdentityFile /nowhere", "Permission denied", "ssh-add -l"),
        (&server, &format!("    Port {port}"), "refused", "does its SSH server run"),
        ("HostName 127.0.0.1", "HostName no-such-host.invalid", "Could not resolve", "check the host's name"),
    ] {
        broken(from, to)?;
        let refused = machine.run(&["gateway", "add", "big", "--remote", "big"]).await?;
        ensure!(refused.code == 1 && refused.stdout.is_empty(), "{refused:?}");
        ensure!(refused.stderr.contains(fact) && refused.stderr.contains(hint), "{fact}: {refused:?}");
    }
    std::fs::write(&machine.config, &config)?;
    // A machine that is asked for what it lacks keeps nothing of it.
    let refused = machine.run(&["gateway", "add", "big", "--remote", "big", "--form", "docker"]).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("no Docker engine of this machine answers"), "{refused:?}");
    ensure!(machine.run(&["gateway", "list", "-o", "json"]).await?.ok()?.json()?.as_array().map(Vec::len) == Some(1));
    Ok(())
}

/// A machine with a systemd and an SSH server of its own: a container, whose kernel is ours.
struct Lab {
    machine: Machine,
    engine: String,
    container: String,
    network: String,
}

impl Lab {
    fn new(engine: &str) -> Result<Self> {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/docker-engine.sh");
        let made = Command::new(script).arg("machine").env("DOCKER_HOST", engine).output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let world = World::new()?;
        let key = world.path("key");
        ensure!(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status()?.success());
        let docker = |words: &[&str]| docker(engine, words);
        // Another engine that starts without a bridge takes the default one away from all of them.
        let network = format!("openshell-lab-{}", std::process::id());
        docker(&["network", "create", &network])?;
        // Everything but the capabilities that containers of containers lack.
        let capabilities =
            ["ALL", "SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "SYS_CHROOT", "SYS_NICE", "SYS_BOOT", "AUDIT_CONTROL"];
        let mut run = vec!["run", "--detach", "--tty", "--cgroupns=host", "--security-opt=seccomp=unconfined"];
        run.extend([
            "--security-opt=systempaths=unconfined",
            "--env=container=docker",
            "--tmpfs=/run",
            "--tmpfs=/run/lock",
        ]);
        run.extend(["--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"]);
        for capability in &capabilities[1..] {
            run.extend(["--cap-add", capability]);
        }
        run.extend(["--network", &network, "openshell-test/machine", "/sbin/init"]);
        let container = docker(&run)?;
        let lab = |machine| Self {
            machine,
            engine: engine.to_owned(),
            container: container.clone(),
            network: network.clone(),
        };
        let public = std::fs::read_to_string(key.with_extension("pub"))?;
        let install =
            format!("mkdir -p /home/agent/.ssh && echo '{}' >/home/agent/.ssh/authorized_keys", public.trim());
        docker(&["exec", "--user", "agent", &container, "sh", "-c", &install])?;
        let address =
            docker(&["inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", &container])?;
        let host_key = docker(&["exec", &container, "cat", "/etc/ssh/ssh_host_ed25519_key.pub"])?;
        let host = format!("HostName {address}\n    User agent\n    IdentityFile {}", key.display());
        Ok(lab(Machine::reached(world, &host, &format!("{address} {host_key}\n"), None)?))
    }

    /// Waits until its SSH server lets us in.
    async fn up(&self) -> Result<()> {
        for _ in 0..120 {
            if block_in_place(|| self.machine.ssh("systemctl --user show-environment")).is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        bail!("the machine does not come up: {}", docker(&self.engine, &["logs", "--tail", "20", &self.container])?)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = docker(&self.engine, &["rm", "--force", "--volumes", &self.container]);
        let _ = docker(&self.engine, &["network", "rm", &self.network]);
    }
}

fn docker(engine: &str, words: &[&str]) -> Result<String> {
    let output = Command::new("docker").args(words).env("DOCKER_HOST", engine).output()?;
    ensure!(output.status.success(), "docker {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_survives_a_kill_an_upgrade_and_a_reboot() -> Result<()> {
    let Some(Yard { world, engine, .. }) = yard().await? else { return Ok(()) };
    drop(world);
    let lab = block_in_place(|| Lab::new(&engine))?;
    lab.up().await?;
    let machine = &lab.machine;
    let authority = Authority::new()?;
    let origin = origin(&authority).await?;
    let added = machine.run(&["gateway", "add", "big", "--remote", "big"]).await?.ok()?;
    ensure!(added.stderr.contains("loginctl enable-linger"), "{added:?}");
    docker(&engine, &["exec", &lab.container, "loginctl", "enable-linger", "agent"])?;
    let unit = machine.ssh("cat ~/.config/systemd/user/openshell-gateway.service")?;
    ensure!(unit.contains("KillMode=process") && unit.contains("Restart=on-failure"), "{unit}");
    ensure!(machine.ssh("systemctl --user is-enabled openshell-gateway")?.trim() == "enabled");

    // A sandbox under traffic. Plain HTTP: the machine's gateway was not told of the origin's authority.
    let plain = Origin::start(TcpListener::bind("0.0.0.0:0").await?, OriginConfig::default(), None)?;
    let gateway = docker(
        &engine,
        &["inspect", "--format", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", &lab.container],
    )?;
    let hosts = format!("api.demo.test:{gateway}");
    machine.run(&["sandbox", "create", "--name", "demo", "--add-host", &hosts]).await?.ok()?;
    let rules = READ_ONLY
        .replace("PORT", &plain.address.port().to_string())
        .replace("127.0.0.0/8", "172.16.0.0/12, 192.168.0.0/16");
    let rules = machine.world.write("rules.yaml", &rules)?.display().to_string();
    machine.run(&["policy", "set", "demo", "--policy", &rules]).await?.ok()?;
    let url = format!("http://api.demo.test:{}", plain.address.port());
    let script = format!("URL={url}/traffic; {TRAFFIC}");
    let mut traffic =
        tokio::process::Command::from(machine.world.command(&["sandbox", "exec", "demo", "--", "sh", "-c", &script]));
    let mut traffic = traffic.kill_on_drop(true).spawn()?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let pid = || machine.ssh("systemctl --user show --property=MainPID --value openshell-gateway");

    let first = pid()?;
    machine.ssh(&format!("kill -9 {first}"))?;
    machine.until(&["sandbox", "list"]).await?;
    let second = pid()?;
    ensure!(second != first, "systemd did not start it again");
    machine.run(&["gateway", "upgrade", "big"]).await?.ok()?;
    ensure!(pid()? != second, "it was not replaced");
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(traffic.try_wait()?.is_none(), "the command did not live through it");
    let refused = format!("curl -sS -m 20 -X POST {url}/x; cat seen");
    let seen = machine.run(&["sandbox", "exec", "demo", "--", "sh", "-c", &refused]).await?.ok()?.stdout;
    let (refusal, seen) = seen.split_once('}').context("a refusal")?;
    ensure!(refusal.contains("policy_denied"), "{refusal}");
    unbroken(seen.trim_start(), 20)?;
    traffic.kill().await?;

    // A reboot: everything ends, and the gateway is back before anyone logs in.
    docker(&engine, &["restart", "--time", "20", &lab.container])?;
    lab.up().await?;
    machine.until(&["status"]).await?;
    let after: Value = machine.run(&["sandbox", "get", "demo", "-o", "json"]).await?.ok()?.json()?;
    ensure!(after["phase"] != "running", "{after}");
    machine.run(&["sandbox", "start", "demo"]).await?.ok()?;
    let again = format!("curl -sS -m 20 -o /dev/null -w '%{{http_code}}' {url}/again; curl -sS -m 20 -X POST {url}/x");
    let ran = machine.run(&["sandbox", "exec", "demo", "--", "sh", "-c", &again]).await?.ok()?;
    ensure!(ran.stdout.starts_with("200") && ran.stdout.contains("policy_denied"), "{ran:?}");

    machine.run(&["gateway", "remove", "big", "--purge", "--yes"]).await?.ok()?;
    let left = machine.ssh("find ~/.local ~/.config -type f; systemctl --user list-units --no-legend 'openshell*'; pgrep -a openshell || true")?;
    ensure!(left.trim().is_empty(), "something is left there: {left}");
    drop(origin);
    Ok(())
}
