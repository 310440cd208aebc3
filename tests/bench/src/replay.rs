//! `policy replay` over a million recorded decisions.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use openshell_tests::world::World;

const RULES: &str = "version: 1
network_policies:
  api:
    endpoints:
      - {host: api.bench.test, port: 443, protocol: rest, access: ACCESS}
    binaries: [{path: '/usr/**'}]
";
/// Makes many of the decisions that there are: other ids, paths and times.
const MULTIPLY: &str = r#"
import sqlite3, sys
path, wanted = sys.argv[1], int(sys.argv[2])
db = sqlite3.connect(path)
rows = db.execute("select id, sandbox, at_us, record from decisions where record ->> '$.stage' = 'request'").fetchall()
def more():
    for n in range(wanted):
        id, sandbox, at, record = rows[n % len(rows)]
        fresh = "0%025d" % n
        record = record.replace(id, fresh).replace("/items", "/items/%d" % (n % 5000))
        yield fresh, sandbox, at + n, record
with db:
    db.executemany("insert into decisions (id, sandbox, at_us, record) values (?, ?, ?, ?)", more())
"#;

/// Replays `count` decisions.
pub fn run(count: u32) -> Result<()> {
    let world = World::new()?;
    world.run(&["gateway", "start"])?.ok()?;
    world.run(&["sandbox", "create", "--name", "bench", "--add-host", "api.bench.test:127.0.0.1"])?.ok()?;
    for access in ["read-only", "full"] {
        world.write(&format!("{access}.yaml"), &RULES.replace("ACCESS", access))?;
    }
    world.run(&["policy", "set", "bench", "--policy", "read-only.yaml"])?.ok()?;
    // Allowed, refused by the address, and denied; all three were asked and answered.
    world.shell(
        "bench",
        "curl -sSk https://api.bench.test/items; curl -sSk -X POST -d x=1 https://api.bench.test/items",
    )?;
    let recorded = || -> Result<bool> {
        let listed = world.run(&["decisions", "--sandbox", "bench", "-o", "json"])?.ok()?.json()?;
        let requests = listed.as_array().into_iter().flatten().filter(|record| record["stage"] == "request");
        Ok(requests.count() >= 2)
    };
    let began = Instant::now();
    while !recorded()? {
        ensure!(began.elapsed() < Duration::from_secs(20), "the decisions did not arrive");
        std::thread::sleep(Duration::from_millis(200));
    }
    world.run(&["gateway", "stop"])?.ok()?;
    let database = world.path("state/openshell/gateway/gateway.db");
    let made = Command::new("python3").args(["-c", MULTIPLY]).arg(&database).arg(count.to_string()).status()?;
    ensure!(made.success(), "the decisions could not be multiplied");
    world.run(&["gateway", "start"])?.ok()?;
    println!("## Replaying {count} decisions\n");
    println!("Through the command line, gateway and candidate on this machine.\n");
    println!("| candidate | time | decisions a second | flips |\n|---|---|---|---|");
    for (what, file, code) in [("the same rules", "read-only.yaml", 0), ("rules that allow more", "full.yaml", 2)] {
        let began = Instant::now();
        let replayed = world.run(&["policy", "replay", file, "--sandbox", "bench", "-o", "json"])?;
        let took = began.elapsed();
        ensure!(replayed.code == code, "replay: {replayed:?}");
        let report = replayed.json()?;
        let flips = report["flips"].as_u64().context("flips")?;
        println!("| {what} | {:.1} s | {:.0} | {flips} |", took.as_secs_f64(), f64::from(count) / took.as_secs_f64());
    }
    println!();
    Ok(())
}
