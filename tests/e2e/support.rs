//! What the end-to-end tests share.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use openshell_tests::origin::{Authority, Origin, OriginConfig};
use openshell_tests::servers::Server;
use openshell_tests::world::{Ran, World, finish};
use tokio::net::TcpListener;
use tokio::task::block_in_place;

/// A world with an HTTPS origin called `api.demo.test` and a sandbox called `demo` that may be told to reach it.
pub struct Stage {
    pub world: World,
    pub origin: Origin,
    /// `https://api.demo.test:PORT`.
    pub api: String,
}

impl Stage {
    pub async fn new() -> Result<Self> {
        Self::knowing(&[]).await
    }

    /// The same, whose sandbox also knows these names, all of them this machine.
    pub async fn knowing(names: &[&str]) -> Result<Self> {
        Self::trusting(&Authority::new()?, names).await
    }

    /// The same, trusting certificates of this authority at its origins.
    pub async fn trusting(authority: &Authority, names: &[&str]) -> Result<Self> {
        Self::within(World::new()?, authority, names, "true").await
    }

    /// The same in a world that exists; the gateway, and with it every supervisor, starts after `preparation`, a shell
    /// command.
    pub async fn within(world: World, authority: &Authority, names: &[&str], preparation: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let origin = Origin::start(
            listener,
            OriginConfig { name: "api".into(), ..OriginConfig::default() },
            Some((authority, &["api.demo.test".to_owned()])),
        )?;
        let ca = world.write("origins.pem", authority.pem())?;
        let stage = Self { api: format!("https://api.demo.test:{}", origin.address.port()), world, origin };
        let start = stage.world.command(&["gateway", "start", "--upstream-ca", &ca.to_string_lossy()]);
        finish(prepared(&start, preparation)).await?.ok()?;
        let hosts: Vec<String> =
            ["api.demo.test"].iter().chain(names).map(|name| format!("{name}:127.0.0.1")).collect();
        let mut create = vec!["sandbox", "create", "--name", "demo"];
        create.extend(hosts.iter().flat_map(|host| ["--add-host", host]));
        stage.run(&create).await?.ok()?;
        Ok(stage)
    }

    /// Runs `openshell …` without holding up the origins.
    pub async fn run(&self, arguments: &[&str]) -> Result<Ran> {
        finish(self.world.command(arguments)).await
    }

    /// Runs a shell script in the sandbox `demo`; `$API` is the origin.
    pub async fn inside(&self, script: &str) -> Result<Ran> {
        let script = format!("API={}; {script}", self.api);
        self.run(&["sandbox", "exec", "demo", "--", "sh", "-c", &script]).await
    }

    /// Puts a file into the sandbox's workspace, where scripts start.
    pub async fn upload(&self, name: &str, contents: &str) -> Result<()> {
        let path = self.world.write(name, contents)?;
        self.run(&["sandbox", "upload", "demo", &path.to_string_lossy()]).await?.ok().map(|_| ())
    }

    /// Each row: a shell script in the sandbox, and what its output must hold.
    pub async fn check(&self, rows: &[(&str, &str)]) -> Result<()> {
        for (script, expected) in rows {
            let ran = self.inside(script).await?;
            let output = format!("{}{}", ran.stdout, ran.stderr);
            ensure!(output.contains(expected), "{script}\n  expected {expected:?} in:\n{output}");
        }
        Ok(())
    }

    /// Binds the `rules` module with this YAML; `PORT` stands for the origin's port.
    pub async fn rules(&self, yaml: &str) -> Result<Ran> {
        let yaml = yaml.replace("PORT", &self.origin.address.port().to_string());
        let path = self.world.write("rules.yaml", &yaml)?;
        self.run(&["policy", "set", "demo", "--policy", &path.to_string_lossy()]).await
    }
}

/// A command, run by a shell that has first done something else.
fn prepared(command: &Command, preparation: &str) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{preparation} && exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.stdin(Stdio::null());
    shell
}

/// Rules that let curl read the origin.
pub const READ_ONLY: &str = "version: 1
network_policies:
  api:
    endpoints:
      - {host: api.demo.test, port: PORT, protocol: rest, access: read-only, allowed_ips: [127.0.0.0/8]}
    binaries: [{path: /usr/bin/curl}]
";

/// Rules that let curl do anything to the origin.
pub const FULL: &str = "version: 1
network_policies:
  api:
    endpoints:
      - {host: api.demo.test, port: PORT, protocol: rest, access: full, allowed_ips: [127.0.0.0/8]}
    binaries: [{path: /usr/bin/curl}]
";

/// Where a PostgreSQL of the tests keeps everything.
pub fn database_url(postgres: &Server) -> String {
    format!("postgres://postgres@127.0.0.1:{}/postgres", postgres.port)
}

/// What several gateways share: a PostgreSQL, and the passphrase of their keys.
pub struct Shared {
    /// Of the database.
    pub url: String,
    secret: tempfile::NamedTempFile,
    _postgres: Server,
}

impl Shared {
    pub fn new() -> Result<Self> {
        let postgres = block_in_place(Server::postgres)?;
        let secret = tempfile::NamedTempFile::new()?;
        std::fs::write(secret.path(), "correct horse battery\n")?;
        Ok(Self { url: database_url(&postgres), secret, _postgres: postgres })
    }

    /// A world whose gateway shares it.
    pub fn world(&self, world: World) -> World {
        let passphrase = self.secret.path().to_string_lossy();
        world.with_env("OPENSHELL_DATABASE", &self.url).with_env("OPENSHELL_PASSPHRASE_FILE", &passphrase)
    }

    /// The same, whose gateway runs and trusts origins of this authority.
    pub async fn gateway(&self, world: World, authority: &Authority) -> Result<World> {
        let world = self.world(world);
        let ca = world.write("origins.pem", authority.pem())?;
        finish(world.command(&["gateway", "start", "--upstream-ca", &ca.to_string_lossy()])).await?.ok()?;
        Ok(world)
    }
}

/// Looks every 100 ms, at most so often.
pub async fn eventually(what: &str, times: u32, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..times {
        if holds().await? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("never: {what}")
}

/// Kills a world's own gateway, as a crash would: nothing is put in order. Answers its process id.
pub fn kill_gateway(world: &World) -> Result<u64> {
    let endpoint = std::fs::read(world.path("state/openshell/gateway/endpoint.json"))?;
    let endpoint: serde_json::Value = serde_json::from_slice(&endpoint)?;
    let pid = endpoint["pid"].as_u64().context("no pid")?;
    ensure!(Command::new("kill").args(["-9", &pid.to_string()]).status()?.success(), "{endpoint}");
    Ok(pid)
}
