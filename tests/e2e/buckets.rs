//! Modules in a bucket: a server of S3 that checks signatures and rights, behind nginx with TLS of a private authority. nginx goes
//! when the bucket is to be away.

mod faults;
mod leftovers;
mod moves;
mod postgresql;
mod replicas;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use openshell_tests::origin::Authority;
use openshell_tests::servers::{Server, free_port, python};
use openshell_tests::world::{Ran, World, finish};
use tokio::task::block_in_place;

use crate::support::{FULL, Shared, Stage, database_url, eventually, kill_gateway};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies-wasm/examples/get-only");
const SETTINGS: &str = r#"{"host": "api.demo.test", "binaries": ["/usr/bin/curl"]}"#;
const PLACE: &str = "s3://modules/prod";
/// Allowed by the rules, and denied by the example.
const POST: &str = "curl -sS -X POST -d x $API/x";
const GET: &str = "curl -sS -o /dev/null -w '%{http_code}' $API/x";

/// A bucket called `modules`.
struct Bucket {
    server: Server,
    port: u16,
    certificate: (String, String),
}

impl Bucket {
    fn new(authority: &Authority) -> Result<Self> {
        let files = [("owner.py", include_str!("buckets/owner.py"))];
        let server = block_in_place(|| Server::python(include_str!("buckets/s3.py"), &files))?;
        let certificate = authority.issue(&["127.0.0.1".to_owned()])?;
        Ok(Self { server, port: free_port()?, certificate })
    }

    /// It answers for as long as this lives.
    fn front(&self) -> Result<Server> {
        let (port, behind) = (self.port, self.server.port);
        let servers = format!(
            "client_max_body_size 64m; server {{ listen LISTEN; listen 127.0.0.1:{port} ssl; \
             ssl_certificate HERE/tls.pem; ssl_certificate_key HERE/tls.key; \
             location / {{ proxy_pass http://127.0.0.1:{behind}; proxy_set_header Host $http_host; }} }}"
        );
        let files = [("tls.pem", self.certificate.0.as_str()), ("tls.key", self.certificate.1.as_str())];
        block_in_place(|| Server::nginx(&servers, &files))
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Id and secret of the gateway's key.
    fn key(&self) -> Result<(String, String)> {
        let text = std::fs::read_to_string(self.server.path("gateway.keys"))?;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).context("no such key")?;
            anyhow::Ok(line.trim_start_matches([' ', '=']).to_owned())
        };
        Ok((value("aws_access_key_id")?, value("aws_secret_access_key")?))
    }

    /// A world whose gateways keep modules there. The usual variables hold the key.
    fn world(&self) -> Result<World> {
        let (id, secret) = self.key()?;
        let world = World::new()?.with_env("OPENSHELL_MODULES", PLACE);
        let world = world.with_env("OPENSHELL_MODULES_ENDPOINT", &self.url());
        Ok(world.with_env("AWS_ACCESS_KEY_ID", &id).with_env("AWS_SECRET_ACCESS_KEY", &secret))
    }

    /// Objects with modules, each with its size behind it.
    fn modules(&self) -> Result<Vec<String>> {
        let listed = self.owner(&["list"])?;
        Ok(listed.lines().filter(|line| line.contains(".wasm")).map(str::to_owned).collect())
    }

    /// The one object of a digest.
    fn object(&self, digest: &str) -> Result<String> {
        let below = format!("prod/{}/", digest.replace(':', "/"));
        let modules = self.modules()?;
        let mut found = modules.iter().filter_map(|line| line.split(' ').next()).filter(|key| key.starts_with(&below));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one.to_owned()),
            _ => anyhow::bail!("not one object of {digest}: {modules:?}"),
        }
    }

    /// Does something as the bucket's owner.
    fn owner(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(python()?);
        command.arg("owner.py").arg(format!("http://127.0.0.1:{}", self.server.port)).arg("owner.keys").args(words);
        let output = block_in_place(|| command.current_dir(self.server.path("")).output())?;
        ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The same component with one more custom section: other bytes, another digest.
fn changed(component: &Path, mark: &str) -> Result<Vec<u8>> {
    let mut bytes = std::fs::read(component)?;
    let name = mark.as_bytes();
    bytes.extend([0, u8::try_from(name.len() + 1)?, u8::try_from(name.len())?]);
    bytes.extend(name);
    Ok(bytes)
}

/// A sandbox whose gateway keeps modules in the bucket, and the example, built.
async fn stage_with_example(bucket: &Bucket, authority: &Authority) -> Result<Stage> {
    let stage = Stage::within(bucket.world()?, authority, &[], "true").await?;
    stage.rules(FULL).await?.ok()?;
    stage.run(&["policy", "build", EXAMPLE, "--out", "built.wasm"]).await?.ok()?;
    Ok(stage)
}

/// `policy push FILE` onto the sandbox, in the place of what was pushed before. Under a new name it is compiled anew.
async fn push(stage: &Stage, file: &str, name: &str, more: &[&str]) -> Result<Ran> {
    let push =
        ["policy", "push", file, "--sandbox", "demo", "--binding", "example", "--settings", SETTINGS, "-o", "json"];
    stage.run(&[&push[..], &["--name", name], more].concat()).await
}

/// The sandbox enforces the example under this name.
async fn enforced(stage: &Stage, name: &str) -> Result<()> {
    stage.check(&[(POST, &format!("\"policy\":\"{name}@0.0.0\"")), (GET, "200")]).await
}

/// Waits until the sandbox has found its gateway again.
async fn connected(stage: &Stage) -> Result<()> {
    for _ in 0..200 {
        if stage.run(&["sandbox", "get", "demo", "-o", "json"]).await?.ok()?.json()?["connected"] == true {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the sandbox does not come back")
}

async fn refused(ran: Result<Ran>, expected: &[&str]) -> Result<()> {
    let ran = ran?;
    ensure!(ran.code == 1, "{ran:?}");
    for expected in expected {
        ensure!(ran.stderr.contains(expected), "{expected:?} in {}", ran.stderr);
    }
    Ok(())
}

async fn gateway(stage: &Stage) -> Result<serde_json::Value> {
    stage.run(&["gateway", "status", "-g", "local", "-o", "json"]).await?.ok()?.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_in_a_bucket_are_enforced_and_outlive_the_gateway() -> Result<()> {
    let authority = Authority::new()?;
    let bucket = Bucket::new(&authority)?;
    let front = bucket.front()?;
    let stage = stage_with_example(&bucket, &authority).await?;
    let pushed = push(&stage, "built.wasm", "first", &[]).await?.ok()?.json()?;
    let digest = pushed["module"]["digest"].as_str().context("a digest")?.to_owned();
    enforced(&stage, "first").await?;

    // What comes with the gateway needs no bucket; what is pushed is there, whole.
    let size = std::fs::metadata(stage.world.path("built.wasm"))?.len();
    ensure!(bucket.modules()? == [format!("{} {size}", bucket.object(&digest)?)], "{:?}", bucket.modules()?);

    // Its key is seen by nobody: not in a list of processes, not by a supervisor, not in a log, not by others who read the plan.
    let status = gateway(&stage).await?;
    ensure!(status["bucket"] == serde_json::json!({ "place": PLACE }), "{status}");
    let (_, secret) = bucket.key()?;
    let pid = status["pid"].as_u64().context("a pid")?;
    let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
    ensure!(!words.contains(&secret), "{words}");
    let state = stage.world.path("state/openshell/gateway");
    ensure!(!std::fs::read_to_string(state.join("gateway.log"))?.contains(&secret));
    let plan = state.join("start.json");
    ensure!(std::fs::read_to_string(&plan)?.contains(&secret), "an upgrade would not find it");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&plan)?) & 0o777;
    ensure!(mode == 0o600, "{mode:o}");
    let mut supervisors = 0;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let (words, variables) = (read("cmdline"), read("environ"));
        let ours = String::from_utf8_lossy(&words).contains(&*state.join("sandboxes").to_string_lossy());
        supervisors += u32::from(ours);
        ensure!(!ours || !String::from_utf8_lossy(&variables).contains(&secret), "{:?} has it", entry.path());
    }
    ensure!(supervisors > 0, "no supervisor was looked at");

    // Another start, by the plan alone; another name of the same bytes is compiled from what the bucket has.
    stage.run(&["gateway", "stop"]).await?.ok()?;
    let mut upgrade = stage.world.command(&["gateway", "upgrade"]);
    for name in ["OPENSHELL_MODULES", "OPENSHELL_MODULES_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        upgrade.env_remove(name);
    }
    finish(upgrade).await?.ok()?;
    connected(&stage).await?;
    enforced(&stage, "first").await?;
    let again = push(&stage, "built.wasm", "other", &[]).await?.ok()?.json()?;
    ensure!(again["module"]["digest"] == *digest, "{again}");
    enforced(&stage, "other").await?;
    ensure!(bucket.modules()?.len() == 1);
    drop(front);
    Ok(())
}
