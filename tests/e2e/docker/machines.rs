//! One gateway, two other machines with an engine: `east` over TLS, `west` behind an SSH server. A machine is a network namespace with
//! an engine of its own, and a cable to ours that can be pulled: what runs there runs on, and nobody hears of it.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use openshell_tests::origin::{Authority, Origin, OriginConfig};
use openshell_tests::servers::Server;
use openshell_tests::world::{Ran, World, finish};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::block_in_place;

use super::BUSYBOX;
use super::engines::Private;
use crate::support::kill_gateway;

/// Runs a command of this machine's.
pub fn run(program: &str, words: &[&str]) -> Result<String> {
    let output = Command::new(program).args(words).output()?;
    ensure!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A machine of its own, as far as networks go.
pub struct Far {
    private: Private,
    pub host: String,
    number: u8,
}

impl Far {
    /// Our end of the cable is 10.213.N.1, its end 10.213.N.2; its containers are in 10.214.N.0/24.
    fn new(name: &str, number: u8, more: &str) -> Result<Option<Self>> {
        let pool = format!("--default-address-pool base=10.214.{number}.0/24,size=25");
        let Some((private, host)) = Private::new(name, &format!("{pool} {more}")) else { return Ok(None) };
        Self::wired(private, host, number).map(Some)
    }

    /// The same as a node of a Swarm: its tasks are in 10.214.N.0/25.
    pub fn node(name: &str, number: u8, more: &str) -> Result<Option<Self>> {
        let networks = format!("--bip 10.214.{number}.1/25 --default-address-pool base=10.214.{number}.128/25,size=26");
        let Some((private, host)) = Private::node(name, &format!("{networks} {more}")) else { return Ok(None) };
        Self::wired(private, host, number).map(Some)
    }

    fn wired(private: Private, host: String, number: u8) -> Result<Self> {
        let far = Self { private, host, number };
        let (cable, pid) = (far.cable(), far.pid()?);
        run("ip", &["link", "add", &cable, "type", "veth", "peer", "name", "cable", "netns", &pid])?;
        run("ip", &["addr", "add", &format!("10.213.{number}.1/24"), "dev", &cable])?;
        run("ip", &["link", "set", &cable, "up"])?;
        run("ip", &["route", "add", &format!("10.214.{number}.0/24"), "via", &format!("10.213.{number}.2")])?;
        far.there(&format!("ip addr add 10.213.{number}.2/24 dev cable && echo 1 >/proc/sys/net/ipv4/ip_forward"))?;
        far.plug()?;
        Ok(far)
    }

    /// Lays a cable to another one, of which nothing else knows: this end is 10.212.0.N/24, and the other likewise.
    pub fn tie(&self, other: &Self) -> Result<()> {
        let (here, there) = (self.pid()?, other.pid()?);
        run("ip", &["link", "add", "tie", "netns", &here, "type", "veth", "peer", "name", "tie", "netns", &there])?;
        for far in [self, other] {
            far.there(&format!("ip addr add 10.212.0.{}/24 dev tie && ip link set tie up", far.number))?;
        }
        Ok(())
    }

    fn cable(&self) -> String {
        format!("osh{}-{}", std::process::id() % 100_000, self.number)
    }

    pub fn pid(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.private.directory.join("pid"))?.trim().to_owned())
    }

    pub fn there(&self, script: &str) -> Result<String> {
        run("nsenter", &["--target", &self.pid()?, "--net", "sh", "-c", script])
    }

    pub fn plug(&self) -> Result<()> {
        self.there(&format!("ip link set cable up && ip route replace default via 10.213.{}.1", self.number)).map(drop)
    }

    pub fn pull(&self) -> Result<()> {
        self.there("ip link set cable down").map(drop)
    }

    /// Runs the engine's own command line, by a socket that needs no network.
    pub fn docker(&self, words: &[&str]) -> Result<String> {
        run("docker", &[&["-H", &self.host], words].concat())
    }

    fn freeze(&self, signal: &str) -> Result<()> {
        run("kill", &[signal, &self.pid()?]).map(drop)
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.freeze("-CONT");
        let _ = run("ip", &["link", "del", &self.cable()]);
    }
}

/// A world whose gateway reaches both.
pub struct Yard {
    pub world: World,
    pub port: u16,
    plain: Origin,
    /// Where containers reach it.
    at: &'static str,
    _sshd: Option<Server>,
}

impl Yard {
    async fn new(west: &Far) -> Result<Self> {
        let world = World::new()?;
        let sshd = block_in_place(|| Server::sshd_with(&format!("SetEnv DOCKER_HOST={}", west.host)))?;
        let known = format!("[127.0.0.1]:{} {}", sshd.port, std::fs::read_to_string(sshd.path("host.pub"))?);
        let known = world.write("known_hosts", &known)?;
        let config = format!(
            "Host west stranger\n    HostName 127.0.0.1\n    Port {}\n    User root\n    IdentityFile {}\n    IdentitiesOnly yes\n    \
             GlobalKnownHostsFile none\nHost west\n    UserKnownHostsFile {}\nHost stranger\n    UserKnownHostsFile /dev/null\n    \
             StrictHostKeyChecking no\n",
            sshd.port,
            sshd.path("client").display(),
            known.display()
        );
        let config = world.write("ssh_config", &config)?;
        let ssh = world.write("ssh", &format!("#!/bin/sh\nexec ssh -F {} \"$@\"\n", config.display()))?;
        std::fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Self::of(world.with_env("OPENSHELL_SSH", &ssh.display().to_string()), "10.213.2.1", Some(sshd)).await
    }

    /// One with an origin, and without an engine of its own.
    pub async fn of(world: World, at: &'static str, sshd: Option<Server>) -> Result<Self> {
        let world = world.with_env("DOCKER_HOST", "unix:///nowhere/docker.sock");
        let config = OriginConfig { name: "plain".into(), ..OriginConfig::default() };
        let plain = Origin::start(TcpListener::bind("0.0.0.0:0").await?, config, None)?;
        let mut yard = Self { world, port: 0, plain, at, _sshd: sshd };
        yard.start().await?;
        Ok(yard)
    }

    async fn start(&mut self) -> Result<()> {
        self.run(&["gateway", "start", "--listen", "0.0.0.0:0", "--", "--runtime-lost-after", "3"]).await?.ok()?;
        let status = self.run(&["gateway", "status", "-o", "json"]).await?.ok()?.json()?;
        let url = status["url"].as_str().context("a URL")?;
        self.port = url.rsplit(':').next().context("a port")?.parse()?;
        Ok(())
    }

    /// A gateway that ends without a word, and one that begins in its place.
    pub async fn crash(&mut self) -> Result<()> {
        kill_gateway(&self.world)?;
        self.start().await
    }

    pub async fn run(&self, words: &[&str]) -> Result<Ran> {
        finish(self.world.command(words)).await
    }

    pub async fn json(&self, words: &[&str]) -> Result<Value> {
        self.run(&[words, &["-o", "json"]].concat()).await?.ok()?.json()
    }

    /// A command that must fail, and say this.
    pub async fn refused(&self, words: &[&str], says: &[&str]) -> Result<()> {
        let ran = self.run(words).await?;
        ensure!(ran.code == 1 && ran.stdout.is_empty(), "{words:?}: {ran:?}");
        for said in says {
            ensure!(ran.stderr.contains(said), "{words:?} does not say {said:?}: {ran:?}");
        }
        Ok(())
    }

    pub async fn create(&self, name: &str, more: &[&str]) -> Result<Ran> {
        let address = format!("plain.demo.test:{}", self.at);
        let origin = ["--add-host", &address];
        self.run(&[&["sandbox", "create", "--name", name, "--from", BUSYBOX][..], &origin, more].concat()).await
    }

    async fn created_at_once(&self, names: &[&str], more: &[&str]) -> Result<()> {
        let creating = names.iter().map(|name| self.create(name, more));
        for made in futures_util::future::join_all(creating).await {
            made?.ok()?;
        }
        Ok(())
    }

    pub async fn shell(&self, name: &str, script: &str) -> Result<Ran> {
        let script = format!("PLAIN=http://plain.demo.test:{}; {script}", self.plain.address.port());
        self.run(&["sandbox", "exec", name, "--", "sh", "-c", &script]).await
    }

    /// A policy that lets programs read the origin.
    pub fn rules(&self) -> Result<String> {
        let rules = format!(
            "version: 1\nnetwork_policies:\n  demo:\n    endpoints:\n      - {{host: plain.demo.test, port: {}, protocol: rest, \
             access: read-only, allowed_ips: [10.213.0.0/16]}}\n    binaries: [{{path: /bin/busybox}}]\n",
            self.plain.address.port()
        );
        Ok(self.world.write("rules.yaml", &rules)?.display().to_string())
    }

    /// What a sandbox may do is as it was allowed, whoever's machine it is on.
    pub async fn enforces(&self, name: &str) -> Result<()> {
        for (script, expected) in [
            ("wget -q -O- $PLAIN/status", "hello from the origin"),
            ("wget -q -O- --post-data x=1 $PLAIN/items 2>&1 || true", "403"),
        ] {
            let ran = self.shell(name, script).await?;
            ensure!(format!("{}{}", ran.stdout, ran.stderr).contains(expected), "{name}: {script}: {ran:?}");
        }
        Ok(())
    }

    /// Waits until this is so.
    pub async fn until(&self, words: &[&str], so: impl Fn(&Value) -> bool) -> Result<Value> {
        let began = Instant::now();
        loop {
            let found = self.json(words).await?;
            if so(&found) {
                return Ok(found);
            }
            if began.elapsed() > Duration::from_secs(90) {
                bail!("{words:?} does not come to what is expected: {found}");
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// What the door of the link answers a credential.
    pub fn knock(&self, credential: &str) -> Result<String> {
        let (bearer, url) =
            (format!("Authorization: Bearer {credential}"), format!("https://127.0.0.1:{}/v1/supervisor", self.port));
        run("curl", &["-sk", "-o", "/dev/null", "-w", "%{http_code}", "-H", &bearer, &url])
    }
}

/// Certificates of an engine and of whoever may use it.
pub struct Keys {
    directory: tempfile::TempDir,
}

impl Keys {
    pub fn new(address: &str) -> Result<Self> {
        let (directory, authority) = (tempfile::tempdir()?, Authority::new()?);
        let keys = Self { directory };
        std::fs::write(keys.at("ca.pem"), authority.pem())?;
        std::fs::write(keys.at("other-ca.pem"), Authority::new()?.pem())?;
        for (name, whose) in [("server", address), ("client", "gateway")] {
            let (certificate, key) = authority.issue(&[whose.to_owned()])?;
            std::fs::write(keys.at(&format!("{name}.pem")), certificate)?;
            std::fs::write(keys.at(&format!("{name}.key")), key)?;
        }
        Ok(keys)
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    pub fn flags(&self) -> String {
        let (ca, certificate, key) = (self.text("ca.pem"), self.text("server.pem"), self.text("server.key"));
        format!("-H tcp://0.0.0.0:2376 --tlsverify --tlscacert {ca} --tlscert {certificate} --tlskey {key}")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_machines_are_added_filled_lost_and_found_again() -> Result<()> {
    let keys = Keys::new("10.213.1.2")?;
    let Some(east) = block_in_place(|| Far::new("east", 1, &keys.flags()))? else { return Ok(()) };
    let Some(west) = block_in_place(|| Far::new("west", 2, ""))? else { return Ok(()) };
    let mut yard = Yard::new(&west).await?;
    let port = yard.port;
    let at = |number: u8| format!("https://10.213.{number}.1:{port}");
    let (ca, certificate, key) = (keys.text("ca.pem"), keys.text("client.pem"), keys.text("client.key"));
    let add = ["runtime", "add", "east", "docker", "tcp://10.213.1.2:2376"];
    let (reached, also) = (at(1), at(2));
    let tls = ["--tls-ca", &ca, "--tls-cert", &certificate, "--tls-key", &key, "--gateway-url", &reached];

    // Nothing is kept of what can't be used.
    yard.refused(&add, &["takes TLS", "--tls-ca"]).await?;
    yard.refused(&[&add[..], &tls[..6]].concat(), &["no address is known", "--gateway-url"]).await?;
    let other = keys.text("other-ca.pem");
    let wrong = ["--tls-ca", &other, "--tls-cert", &certificate, "--tls-key", &key, "--gateway-url", &reached];
    yard.refused(&[&add[..], &wrong].concat(), &["no Docker engine answers", "certificate"]).await?;
    let stranger = ["runtime", "add", "west", "docker", "ssh://stranger", "--gateway-url", &also];
    yard.refused(&stranger, &["Host key verification failed", "known hosts"]).await?;
    ensure!(yard.json(&["runtime", "list"]).await?.as_array().map(Vec::len) == Some(2), "something was kept");

    let added = yard.run(&[&add[..], &tls, &["--label", "zone=east", "-o", "json"]].concat()).await?.ok()?.json()?;
    ensure!(added["health"] == "answers" && added["cpus"].as_f64().is_some_and(|cpus| cpus >= 1.0), "{added}");
    let west_args = ["runtime", "add", "west", "docker", "ssh://west", "--label", "zone=west", "--gateway-url", &also];
    yard.run(&west_args).await?.ok()?;
    yard.refused(&west_args, &["exists already"]).await?;
    let updated = yard.json(&["runtime", "update", "west", "--label", "zone=west", "--label", "disk=fast"]).await?;
    ensure!(updated["labels"]["disk"] == "fast" && updated["health"] == "answers", "{updated}");
    yard.refused(&[&["runtime", "update", "east"][..], &wrong[..6]].concat(), &["no Docker engine answers"]).await?;
    // The key is nowhere in the clear.
    let told = yard.run(&["runtime", "get", "east", "-o", "json"]).await?.ok()?.stdout
        + &yard.run(&["audit", "list", "-o", "json"]).await?.ok()?.stdout;
    ensure!(told.contains("runtime.add") && !told.contains("PRIVATE KEY"), "{told}");
    let secret = std::fs::read_to_string(&key)?;
    let secret = secret.lines().nth(1).context("a key")?.to_owned();
    let state = yard.world.path("state").display().to_string();
    ensure!(run("grep", &["-rlaF", &secret, &state]).is_err(), "the key lies in the gateway's state");

    // By label, by name, by room.
    yard.created_at_once(&["one", "also", "too"], &["--on", "zone=east"]).await?;
    let networks = block_in_place(|| east.docker(&["network", "ls", "-q", "--filter", "name=openshell"]))?;
    ensure!(networks.lines().count() == 1, "each made a network of its own: {networks}");
    for name in ["also", "too"] {
        yard.run(&["sandbox", "delete", name]).await?.ok()?;
    }
    let two = yard.create("two", &["--runtime", "west", "--memory", "256m", "-o", "json"]).await?.ok()?.json()?;
    ensure!(two["runtime"] == "west" && two["phase"] == "running", "{two}");
    ensure!(two["enforcement"]["checks"].as_array().is_some_and(|checks| checks.len() >= 50), "{two}");
    let three = yard.create("three", &["-o", "json"]).await?.ok()?.json()?;
    ensure!(three["runtime"] == "east", "it went where more is promised: {three}");
    yard.refused(
        &["sandbox", "create", "--from", BUSYBOX, "--cpu", "4000"],
        &[
            "no runtime takes this sandbox",
            "east: 4000 cores are asked for",
            "west: 4000 cores",
            "docker: it does not answer",
        ],
    )
    .await?;
    yard.refused(
        &["sandbox", "create", "--from", BUSYBOX, "--on", "zone=north"],
        &["east: it lacks the label zone=north"],
    )
    .await?;
    yard.refused(&["sandbox", "create", "--runtime", "west", "--network", "none"], &["it can't have none"]).await?;
    yard.refused(&["runtime", "remove", "east"], &["sandbox one is in the runtime east"]).await?;
    let listed = yard.json(&["runtime", "list"]).await?;
    let of = |name: &str| {
        listed.as_array().and_then(|all| all.iter().find(|one| one["name"] == name)).cloned().context("it is listed")
    };
    let (e, w) = (of("east")?, of("west")?);
    ensure!(e["sandboxes"] == 2 && e["free_memory"] == e["memory"], "{e}");
    ensure!(
        w["memory"].as_u64().zip(w["free_memory"].as_u64()).is_some_and(|(all, free)| all - free == 256 << 20),
        "{w}"
    );
    ensure!(of("docker")?["health"] == "silent" && of("process")?["health"] == "answers", "{listed}");

    // Policies reach both, and what is stopped starts where it was, with what it held.
    let rules = yard.rules()?;
    for name in ["one", "two", "three"] {
        yard.run(&["policy", "set", name, "--policy", &rules]).await?.ok()?;
        yard.enforces(name).await?;
    }
    yard.shell("two", "echo kept > note").await?.ok()?;
    yard.run(&["sandbox", "stop", "two"]).await?.ok()?;
    yard.run(&["sandbox", "start", "two"]).await?.ok()?;
    ensure!(yard.shell("two", "cat note").await?.stdout == "kept\n");

    // A gateway that crashed finds both machines and their sandboxes again.
    yard.crash().await?;
    ensure!(yard.port == port, "it answers elsewhere");
    for name in ["one", "two"] {
        yard.until(&["sandbox", "get", name], |sandbox| sandbox["connected"] == true && sandbox["phase"] == "running")
            .await?;
        yard.enforces(name).await?;
    }
    yard.run(&["gateway", "rotate-keys"]).await?.ok()?;

    // What `one` knows the gateway by, as a thief on its machine would have it.
    let id = yard.json(&["sandbox", "get", "one"]).await?["id"].as_str().context("an id")?.to_ascii_lowercase();
    let container = format!("openshell-{id}");
    let stolen = yard.world.path("stolen.json");
    east.docker(&["cp", &format!("{container}:/.openshell/link.json"), &stolen.display().to_string()])?;
    let stolen: Value = serde_json::from_slice(&std::fs::read(stolen)?)?;
    let key = stolen["key"].as_str().context("a key")?;
    ensure!(yard.knock(key)? != "401", "the key is not one");

    // The cable is pulled. Nobody hears of `one`; it runs on.
    east.pull()?;
    let lost = yard.until(&["runtime", "get", "east"], |runtime| runtime["health"] == "lost").await?;
    ensure!(lost["silent_since"].is_string() && lost["problem"].is_string(), "{lost}");
    yard.until(&["sandbox", "get", "one"], |sandbox| sandbox["phase"] == "lost").await?;
    ensure!(yard.run(&["sandbox", "list"]).await?.ok()?.stdout.contains("lost"));
    yard.until(&["audit", "list"], |entries| {
        let lost = |entry: &&Value| entry["action"] == "runtime.lost" && entry["object"] == "east";
        entries
            .as_array()
            .and_then(|all| all.iter().find(lost))
            .is_some_and(|entry| entry["detail"]["lost"] == serde_json::json!(["one", "three"]))
    })
    .await?;
    ensure!(yard.json(&["sandbox", "get", "two"]).await?["phase"] == "running", "the other machine is lost too");
    yard.refused(&["sandbox", "create", "--from", BUSYBOX, "--on", "zone=east"], &["east: it does not answer"]).await?;
    yard.refused(&["sandbox", "start", "one"], &["is lost", "--elsewhere"]).await?;
    yard.refused(&["sandbox", "start", "two", "--elsewhere"], &["runs already"]).await?;
    yard.refused(&["sandbox", "start", "one", "--runtime", "docker"], &["no Docker engine answers"]).await?;
    ensure!(east.docker(&["inspect", "-f", "{{.State.Running}}", &container])? == "true", "it does not run on");

    // Elsewhere it is what it was: its policies, its name, its logs.
    yard.refused(&["sandbox", "start", "one", "--elsewhere"], &["west: it lacks the label zone=east"]).await?;
    yard.run(&["sandbox", "start", "one", "--runtime", "west"]).await?.ok()?;
    let moved = yard.json(&["sandbox", "get", "one"]).await?;
    ensure!(moved["runtime"] == "west" && moved["phase"] == "running" && moved["connected"] == true, "{moved}");
    yard.enforces("one").await?;
    let logs = yard.run(&["sandbox", "logs", "one"]).await?.ok()?.stdout;
    ensure!(logs.matches("the sandbox is sealed and runs").count() >= 2, "lines of either start are missing: {logs}");

    // One that no label binds goes wherever there is room.
    ensure!(yard.json(&["sandbox", "get", "three"]).await?["phase"] == "lost");
    yard.run(&["sandbox", "start", "three", "--elsewhere"]).await?.ok()?;
    ensure!(yard.json(&["sandbox", "get", "three"]).await?["runtime"] == "west");
    yard.enforces("three").await?;
    yard.run(&["sandbox", "delete", "three"]).await?.ok()?;

    // The machine is back, its engine not yet: what it runs of `one` knocks in vain.
    for credential in [key, stolen["refresh"].as_str().context("a refresh")?] {
        ensure!(yard.knock(credential)? == "401", "a credential of the old machine opens the link");
    }
    east.freeze("-STOP")?;
    east.plug()?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let still = yard.json(&["sandbox", "get", "one"]).await?;
    ensure!(still["runtime"] == "west" && still["phase"] == "running" && still["connected"] == true, "{still}");
    yard.enforces("one").await?;
    east.freeze("-CONT")?;
    yard.until(&["runtime", "get", "east"], |runtime| runtime["health"] == "answers").await?;
    yard.until(&["audit", "list"], |entries| {
        let back = |entry: &&Value| entry["action"] == "runtime.back" && entry["object"] == "east";
        entries
            .as_array()
            .and_then(|all| all.iter().find(back))
            .is_some_and(|entry| entry["detail"]["removed"].as_array().map(Vec::len) == Some(2))
    })
    .await?;
    ensure!(east.docker(&["ps", "-aq"])?.is_empty(), "it runs twice");
    yard.enforces("one").await?;

    yard.run(&["sandbox", "delete", "one", "two"]).await?.ok()?;
    ensure!(west.docker(&["ps", "-aq"])?.is_empty(), "containers are left");
    yard.run(&["runtime", "remove", "east", "west"]).await?.ok()?;
    ensure!(yard.json(&["runtime", "list"]).await?.as_array().map(Vec::len) == Some(2), "they are still there");
    drop(yard);
    Ok(())
}
