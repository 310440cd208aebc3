//! Pushes to a live sandbox under a client that never stops sending.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use openshell_tests::origin::{Authority, Origin, OriginConfig};
use openshell_tests::world::World;
use tokio::net::TcpListener;

use crate::proxies::peers;
use crate::report::{Samples, time};

const LOAD: &str = include_str!("load.py");
const RULES: &str = "version: 1
network_policies:
  api:
    endpoints:
      - {host: api.bench.test, port: PORT, protocol: rest, access: ACCESS, allowed_ips: [127.0.0.0/8]}
    binaries: [{path: '/usr/**'}]
";

pub async fn run(count: u32) -> Result<()> {
    let world = World::new()?;
    let authority = Authority::new()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let origin = Origin::start(listener, OriginConfig::default(), Some((&authority, &["api.bench.test".to_owned()])))?;
    let port = origin.address.port();
    let ca = world.write("ca.pem", authority.pem())?;
    blocking(&world, &["gateway", "start", "--upstream-ca", &ca.to_string_lossy()])?;
    blocking(&world, &["sandbox", "create", "--name", "bench", "--add-host", "api.bench.test:127.0.0.1"])?;
    let mut files = Vec::new();
    for access in ["full", "read-write"] {
        let yaml = RULES.replace("PORT", &port.to_string()).replace("ACCESS", access);
        files.push(world.write(&format!("{access}.yaml"), &yaml)?.to_string_lossy().into_owned());
        blocking(&world, &["policy", "set", "bench", "--policy", files.last().context("just pushed")?])?;
    }

    let mut client = world
        .command(&["sandbox", "exec", "bench", "--", "python3", "-c", LOAD, &format!("https://api.bench.test:{port}/")])
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    tokio::time::sleep(Duration::from_secs(1)).await;

    let pushes = Pushes::new(&world, &files).await?;
    let (mut whole, mut activate, mut swap, mut hundredth) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for n in 0..count {
        let report = pushes.push(n as usize).await?;
        let micros = |field: &str| report["timing"][field].as_f64().unwrap_or_default() * 1_000.0;
        whole.push(micros("total_us"));
        activate.push(micros("activate_us"));
        swap.push(report["enforcing"][0]["swap_ns"].as_f64().context("a swap's time")?);
        if n + 1 == count.min(100) {
            hundredth = peers::supervisor(&world).resident_kib;
        }
    }
    let last = peers::supervisor(&world).resident_kib;
    blocking(&world, &["sandbox", "exec", "bench", "--", "sh", "-c", "touch stop"])?;
    let output = tokio::task::spawn_blocking(move || -> Result<String> {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut client.stdout.take().context("piped")?, &mut text)?;
        client.wait()?;
        Ok(text)
    })
    .await??;
    let (whole, activate, swap) = (Samples::from(whole), Samples::from(activate), Samples::from(swap));
    println!("## Pushes to a live sandbox under load\n");
    println!(
        "{count} pushes alternating between two rule sets, compiled before; one client with kept and new connections.\n"
    );
    println!("| | median | p99 | slowest |\n|---|---|---|---|");
    for (what, samples) in
        [("the swap itself", swap), ("push → enforcing", whole), ("activation (swap and acknowledgement)", activate)]
    {
        let [median, p99, slowest] = [0.5, 0.99, 1.0].map(|share| time(samples.quantile(share)));
        println!("| {what} | {median} | {p99} | {slowest} |");
    }
    println!(
        "\nThe client: {}. Supervisor resident: {hundredth} KiB after push 100, {last} KiB after push {count}.\n",
        output.trim()
    );
    ensure!(output.contains(" 0 failed"), "requests failed during the pushes: {output}");
    Ok(())
}

/// Pushes over one kept connection: the command line's own start would be most of what is measured.
struct Pushes {
    http: reqwest::Client,
    url: String,
    token: String,
    module: serde_json::Value,
    settings: Vec<serde_json::Value>,
}

impl Pushes {
    async fn new(world: &World, files: &[String]) -> Result<Self> {
        let endpoint = std::fs::read(world.path("state/openshell/gateway/endpoint.json"))?;
        let endpoint: serde_json::Value = serde_json::from_slice(&endpoint)?;
        let at = |field: &str| endpoint[field].as_str().map(str::to_owned).context("an endpoint");
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = reqwest::Certificate::from_pem(&std::fs::read(at("ca")?)?)?;
        let http = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build()?;
        let (url, token) = (at("url")?, std::fs::read_to_string(at("token_file")?)?);
        let modules = http.get(format!("{url}/v1/modules")).bearer_auth(token.trim()).send().await?;
        let modules: serde_json::Value = modules.error_for_status()?.json().await?;
        let rules = modules["items"].as_array().into_iter().flatten().find(|module| module["name"] == "rules");
        let module = rules.context("the rules")?["digest"].clone();
        let read = |file: &String| Ok(serde_json::json!({ "yaml": std::fs::read_to_string(file)? }));
        Ok(Self { http, url, token, module, settings: files.iter().map(read).collect::<Result<_>>()? })
    }

    async fn push(&self, number: usize) -> Result<serde_json::Value> {
        let settings = &self.settings[number % self.settings.len()];
        let push = serde_json::json!({ "sandboxes": ["bench"], "module": self.module, "settings": settings });
        let sent = self.http.post(format!("{}/v1/pushes", self.url)).bearer_auth(self.token.trim()).json(&push);
        Ok(sent.send().await?.error_for_status()?.json().await?)
    }
}

fn blocking(world: &World, arguments: &[&str]) -> Result<String> {
    tokio::task::block_in_place(|| Ok(world.run(arguments)?.ok()?.stdout))
}
