//! The inspecting proxy beside others that read TLS: the same origin, client and TLS, one after the other.

pub mod load;
pub mod origin;
pub mod peers;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use load::Outcome;
use openshell_tests::origin::Authority;
use openshell_tests::servers::free_port;
use openshell_tests::world::World;

use crate::report::time;
use peers::{Peer, Process, Usage};

/// The name the sandbox knows the origin by; peers, outside, know it as `localhost`.
const NAME: &str = "api.bench.test";
const RULES: &str = "version: 1
network_policies:
  api:
    endpoints: [{host: api.bench.test, port: PORT, protocol: rest, access: read-only, allowed_ips: [127.0.0.0/8]}]
    binaries: [{path: '**'}]
";

/// One way from the client to the origin.
struct Way {
    name: &'static str,
    peer: Option<Peer>,
    /// `None`: the client runs in the sandbox.
    outside: Option<Outside>,
}

/// What a client outside is told.
struct Outside {
    proxy: Option<String>,
    ca: String,
}

/// Prints a table: each way, each kind of load, for `seconds` each.
pub async fn run(seconds: u64) -> Result<()> {
    let world = World::new()?;
    let authority = Authority::new()?;
    let (certificate, key) = authority.issue(&[NAME.to_owned(), "localhost".to_owned()])?;
    let ca = world.write("ca.pem", authority.pem())?.to_string_lossy().into_owned();
    let directory = world.path("origin");
    world.write("origin/cert.pem", &certificate)?;
    world.write("origin/key.pem", &key)?;
    let port = free_port()?;
    let program = std::env::current_exe()?;
    let mut command = Command::new(&program);
    command.args(["origin", "--port", &port.to_string(), "--directory"]).arg(&directory);
    let _origin = Process::start(command, port)?;

    sandbox(&world, &ca, port, &program)?;
    let straight = Outside { proxy: None, ca: ca.clone() };
    let mut ways = vec![
        Way { name: "none: straight to the origin", peer: None, outside: Some(straight) },
        Way { name: "OpenShell, `rules` policy, every decision recorded", peer: None, outside: None },
    ];
    for (name, peer) in peers::all(&world, &ca) {
        match peer {
            Ok(peer) => {
                let outside = Outside { proxy: Some(format!("127.0.0.1:{}", peer.port)), ca: peer.ca.clone() };
                ways.push(Way { name, peer: Some(peer), outside: Some(outside) });
            }
            Err(error) => eprintln!("{name} is not measured: {error:#}"),
        }
    }
    println!("## The proxy beside its peers\n");
    println!(
        "One HTTPS origin and one client on the same machine, HTTP/1.1, answers of 100 bytes (bulk: 256 MiB), {seconds} s each; TLS \
         is read on the way. Nobody but OpenShell judges, identifies or records anything.\n"
    );
    println!(
        "| proxy | requests/s, 16 clients | p99 | 1 client, median | p99 | new TLS/s | bulk MB/s | CPU per request | resident |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for way in &ways {
        let usage = || way.usage(&world);
        let drive = |mode: &str, clients: u32| way.drive(&world, &program, port, mode, clients, seconds);
        drive("requests", 16)?;
        let before = usage();
        let many = drive("requests", 16)?;
        let spent = usage().cpu_seconds - before.cpu_seconds;
        let (one, fresh, bulk) = (drive("requests", 1)?, drive("handshakes", 16)?, drive("bulk", 1)?);
        let own = way.peer.is_some() || way.outside.is_none();
        println!(
            "| {} | {:.0} | {} | {} | {} | {:.0} | {:.0} | {} | {} |",
            way.name,
            many.answers as f64 / many.seconds,
            time(many.p99_ns),
            time(one.median_ns),
            time(one.p99_ns),
            fresh.answers as f64 / fresh.seconds,
            bulk.bytes as f64 / bulk.seconds / 1e6,
            if own { time(spent / many.answers as f64 * 1e9) } else { "—".to_owned() },
            if own { format!("{} MiB", usage().resident_kib / 1024) } else { "—".to_owned() },
        );
    }
    println!();
    Ok(())
}

/// A sandbox that may reach the origin, with the client in its workspace.
fn sandbox(world: &World, ca: &str, port: u16, program: &Path) -> Result<()> {
    let run = |arguments: &[&str]| world.run(arguments)?.ok();
    run(&["gateway", "start", "--upstream-ca", ca])?;
    run(&["sandbox", "create", "--name", "bench", "--add-host", &format!("{NAME}:127.0.0.1")])?;
    let rules = world.write("rules.yaml", &RULES.replace("PORT", &port.to_string()))?;
    run(&["policy", "set", "bench", "--policy", &rules.to_string_lossy()])?;
    run(&["sandbox", "upload", "bench", &program.to_string_lossy(), "client"])?;
    Ok(())
}

impl Way {
    fn drive(
        &self,
        world: &World,
        program: &Path,
        port: u16,
        mode: &str,
        clients: u32,
        seconds: u64,
    ) -> Result<Outcome> {
        let (port, clients, seconds) = (port.to_string(), clients.to_string(), seconds.to_string());
        let load = ["load", "--mode", mode, "--port", &port, "--connections", &clients, "--seconds", &seconds];
        let text = match &self.outside {
            Some(Outside { proxy, ca }) => {
                let mut command = Command::new(program);
                command.args(load).args(["--host", "localhost", "--ca", ca]);
                command.args(proxy.iter().flat_map(|proxy| ["--proxy", proxy]));
                let output = command.output()?;
                anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                String::from_utf8(output.stdout)?
            }
            None => {
                let script = format!("./client {} --host {NAME} --ca $SSL_CERT_FILE", load.join(" "));
                world.run(&["sandbox", "exec", "bench", "--", "sh", "-c", &script])?.ok()?.stdout
            }
        };
        serde_json::from_str(&text).with_context(|| format!("{}: {text}", self.name))
    }

    fn usage(&self, world: &World) -> Usage {
        match &self.peer {
            Some(peer) => peer.process.usage(),
            None => peers::supervisor(world),
        }
    }
}
