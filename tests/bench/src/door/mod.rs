//! The only door: what catching `connect(2)` and knowing the caller costs, and what idle tunnels keep.

pub mod dial;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{Resource, getrlimit};
use openshell_tests::world::World;

use crate::proxies::peers;
use crate::report::time;
use dial::Dialled;

const NAME: &str = "door.bench.test";
const RULES: &str = "version: 1
network_policies:
  door:
    endpoints: [{host: door.bench.test, port: PORT, protocol: tcp, allowed_ips: [127.0.0.0/8]}]
    binaries: [{path: '**'}]
";

/// Ancestors of a program that an agent runs: a shell or two, a tool, the agent, what started it.
const SHELLS: u32 = 5;

/// Descriptors that a supervisor needs for itself, the processes that it remembers included.
const OWN: u64 = 1024;

/// Dials `count` times in each setting, then holds `tunnels` connections, or as many as the limit of open files has room for.
pub fn run(count: u32, tunnels: u32) -> Result<()> {
    // Each takes two in the supervisor.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let tunnels = tunnels.min(u32::try_from(most.saturating_sub(OWN) / 2).unwrap_or(u32::MAX));
    let world = World::new()?;
    let (port, held) = silent_origin()?;
    let program = std::env::current_exe()?;
    let run = |arguments: &[&str]| world.run(arguments)?.ok();
    run(&["sandbox", "create", "--name", "bench", "--add-host", &format!("{NAME}:127.0.0.1")])?;
    let rules = world.write("rules.yaml", &RULES.replace("PORT", &port.to_string()))?;
    run(&["policy", "set", "bench", "--policy", &rules.to_string_lossy()])?;
    run(&["sandbox", "upload", "bench", &program.to_string_lossy(), "client"])?;

    println!("## The only door\n");
    println!(
        "`connect(2)` to a listener on the same machine, blocking, {count} times with a rest between; outside and caught.\n"
    );
    println!("| | median | p99 |\n|---|---|---|");
    let outside = std::process::Command::new(&program).args(arguments("127.0.0.1", port, count, 0)).output()?;
    ensure!(outside.status.success(), "{}", String::from_utf8_lossy(&outside.stderr));
    let mut rows = vec![("outside".to_owned(), serde_json::from_slice::<Dialled>(&outside.stdout)?)];
    for beside in [5, 5000] {
        let dialled = inside(&world, &arguments(NAME, port, count, beside), 0)?;
        rows.push((format!("in a sandbox, beside {beside} processes"), dialled));
    }
    let dialled = inside(&world, &arguments(NAME, port, count, 0), SHELLS)?;
    rows.push((format!("in a sandbox, below {SHELLS} shells"), dialled));
    for (what, dialled) in rows {
        println!("| {what} | {} | {} |", time(dialled.median_ns), time(dialled.p99_ns));
    }
    println!();
    idle(&world, port, tunnels, &held)
}

/// Resident memory of the supervisor without and with `tunnels` idle connections that were judged and dialled.
fn idle(world: &World, port: u16, tunnels: u32, held: &AtomicUsize) -> Result<()> {
    let eventually = |what: &str, holds: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !holds() {
            ensure!(start.elapsed() < Duration::from_secs(120), "{what}: {} are open", held.load(Ordering::Relaxed));
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    };
    eventually("connections that were closed", &|| held.load(Ordering::Relaxed) == 0)?;
    let before = peers::supervisor(world).resident_kib;
    let mut client = world.command(&["sandbox", "exec", "bench", "--", "sh", "-c"]);
    client.arg(format!("ulimit -n $(ulimit -Hn); ./client dial --host {NAME} --port {port} --count {tunnels} --hold"));
    let mut client = client.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn()?;
    let opened = eventually("tunnels", &|| held.load(Ordering::Relaxed) >= tunnels as usize);
    std::thread::sleep(Duration::from_secs(1));
    let with = peers::supervisor(world).resident_kib;
    drop(client.stdin.take());
    client.wait()?;
    opened?;
    println!("Supervisor resident: {} MiB idle, {} MiB with {tunnels} idle tunnels.\n", before / 1024, with / 1024);
    Ok(())
}

fn arguments(host: &str, port: u16, count: u32, beside: u32) -> Vec<String> {
    let values = [("--host", host.to_owned()), ("--port", port.to_string()), ("--count", count.to_string())];
    let beside = [("--beside", beside.to_string())];
    let pairs = values.into_iter().chain(beside).flat_map(|(name, value)| [name.to_owned(), value]);
    std::iter::once("dial".to_owned()).chain(pairs).collect()
}

/// Dials as the child of so many shells, each the child of another.
fn inside(world: &World, arguments: &[String], shells: u32) -> Result<Dialled> {
    let mut script = format!("./client {}", arguments.join(" "));
    for _ in 0..shells {
        // With more to do after it, a shell does not become what it runs.
        script = format!("sh -c '{}'; true", script.replace('\'', r"'\''"));
    }
    let ran = world.shell("bench", &script)?.ok()?;
    serde_json::from_str(&ran.stdout).with_context(|| ran.stdout.clone())
}

/// Accepts, says nothing, and closes when the client does. Also answers how many are open.
fn silent_origin() -> Result<(u16, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    listener.set_nonblocking(true)?;
    let open = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&open);
    let runtime = tokio::runtime::Handle::current();
    let listener = runtime.block_on(async { tokio::net::TcpListener::from_std(listener) })?;
    runtime.spawn(async move {
        use tokio::io::AsyncReadExt as _;
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { continue };
            let open = Arc::clone(&counted);
            open.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut byte = [0];
                while matches!(stream.read(&mut byte).await, Ok(1..)) {}
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    Ok((port, open))
}
