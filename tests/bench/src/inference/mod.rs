//! `https://inference.local` beside other gateways for models: the same mock model, client and requests, one after the other.

mod cost;
pub mod load;
pub mod mock;
mod peers;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use load::Outcome;
use openshell_tests::servers::free_port;
use openshell_tests::world::World;

use crate::proxies::peers::{Process, Usage, supervisor};
use crate::report::time;

/// Streams at once in the last measurement.
const STREAMS: u32 = 512;

/// One way from the client to the model.
struct Way {
    name: &'static str,
    /// `None`: in the sandbox, or straight.
    process: Option<Process>,
    /// Where the client connects to, and what it adds; `None`: from inside the sandbox.
    outside: Option<Vec<String>>,
}

/// Prints two tables: each way, each kind of load, for `seconds` each; then what routing costs.
pub async fn run(seconds: u64) -> Result<()> {
    let world = World::new()?;
    let program = std::env::current_exe()?;
    let port = free_port()?;
    let mut command = Command::new(&program);
    command.args(["model", "--port", &port.to_string()]);
    let _model = Process::start(command, port)?;
    let url = format!("http://127.0.0.1:{port}/v1");
    sandbox(&world, &url, &program)?;

    let straight = vec!["--port".to_owned(), port.to_string()];
    let mut ways = vec![
        Way { name: "none: straight to the model, plain HTTP", process: None, outside: Some(straight) },
        Way { name: "OpenShell: TLS, every request judged, budgets, records", process: None, outside: None },
    ];
    for (name, peer) in peers::all(&world, &url) {
        match peer {
            Ok(peer) => ways.push(Way { name, process: Some(peer.process), outside: Some(peer.arguments) }),
            Err(error) => eprintln!("{name} is not measured: {error:#}"),
        }
    }
    println!("## Inference\n");
    println!(
        "A mock model answers at once. A chat completion with a prompt of 100 bytes on kept connections; for OpenShell from inside a"
    );
    println!(
        "sandbox over TLS, through the privacy router; for the others plain HTTP from outside, nothing judged. First token: of a stream.\n"
    );
    println!(
        "| gateway | requests/s, 16 clients | median | p99 | 1 client, median | p99 | first token, median | p99 | resident |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for way in &ways {
        told(way, way.answers(&world, &program, seconds))?;
    }
    println!("\n{STREAMS} streams at once, 50 events each, 20 ms apart: the longest silence within any of them.\n");
    println!("| gateway | streams that ended well | median of the longest silence | p99 | resident |");
    println!("|---|---|---|---|---|");
    for way in &ways {
        told(way, way.streams(&world, &program))?;
    }
    println!();
    cost::print()
}

/// Prints a row. A peer that fails is said to, and the others are measured; that we or nothing in between fails ends it all.
fn told(way: &Way, row: Result<String>) -> Result<()> {
    match row {
        Ok(row) => println!("{row}"),
        Err(error) if way.process.is_some() => eprintln!("{} is not measured: {error:#}", way.name),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// A sandbox whose only backend is the mock model, with the client in its workspace.
fn sandbox(world: &World, url: &str, program: &Path) -> Result<()> {
    let run = |arguments: &[&str]| world.run(arguments)?.ok();
    run(&["gateway", "start"])?;
    run(&["sandbox", "create", "--name", "bench"])?;
    let add = ["inference", "backend", "add", "model", "--url", url, "--locality", "host", "--clearance", "restricted"];
    run(&[&add[..], &["--input-price", "1", "--output-price", "5"]].concat())?;
    run(&["inference", "rules", "bench", "--budget", "total=1000000"])?;
    run(&["sandbox", "upload", "bench", &program.to_string_lossy(), "client"])?;
    Ok(())
}

impl Way {
    /// A row of the table of answers.
    fn answers(&self, world: &World, program: &Path, seconds: u64) -> Result<String> {
        self.drive(world, program, "whole", 16, seconds)?;
        let many = self.drive(world, program, "whole", 16, seconds)?;
        let one = self.drive(world, program, "whole", 1, seconds)?;
        // A peer that can't stream answers all the same.
        let first = match self.drive(world, program, "first", 1, seconds) {
            Ok(first) => format!("{} | {}", time(first.median_ns), time(first.p99_ns)),
            Err(_) if self.process.is_some() => "fails | fails".to_owned(),
            Err(error) => return Err(error),
        };
        Ok(format!(
            "| {} | {:.0} | {} | {} | {} | {} | {first} | {} |",
            self.name,
            many.answers as f64 / many.seconds,
            time(many.median_ns),
            time(many.p99_ns),
            time(one.median_ns),
            time(one.p99_ns),
            self.resident(world),
        ))
    }

    /// A row of the table of streams.
    fn streams(&self, world: &World, program: &Path) -> Result<String> {
        let outcome = self.drive(world, program, "streams", STREAMS, 1)?;
        let (median, p99) = (time(outcome.median_ns), time(outcome.p99_ns));
        let resident = self.resident(world);
        Ok(format!("| {} | {} of {STREAMS} | {median} | {p99} | {resident} |", self.name, outcome.answers))
    }

    fn resident(&self, world: &World) -> String {
        self.usage(world).map_or("—".to_owned(), |usage| format!("{} MiB", usage.resident_kib / 1024))
    }

    fn drive(&self, world: &World, program: &Path, mode: &str, clients: u32, seconds: u64) -> Result<Outcome> {
        let (clients, seconds) = (clients.to_string(), seconds.to_string());
        let load = ["ask", "--mode", mode, "--connections", &clients, "--seconds", &seconds];
        let text = match &self.outside {
            Some(arguments) => {
                let output = Command::new(program).args(load).args(arguments).output()?;
                anyhow::ensure!(output.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&output.stderr));
                String::from_utf8(output.stdout)?
            }
            None => {
                let script =
                    format!("./client {} --host inference.local --port 443 --ca $SSL_CERT_FILE", load.join(" "));
                world.run(&["sandbox", "exec", "bench", "--", "sh", "-c", &script])?.ok()?.stdout
            }
        };
        serde_json::from_str(&text).with_context(|| format!("{}: {text}", self.name))
    }

    /// What it uses; `None`: there is nothing in between.
    fn usage(&self, world: &World) -> Option<Usage> {
        match (&self.process, &self.outside) {
            (Some(process), _) => Some(process.usage()),
            (None, Some(_)) => None,
            (None, None) => Some(supervisor(world)),
        }
    }
}
