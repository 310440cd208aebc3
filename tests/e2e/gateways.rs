//! Gateways as people have them: on this machine in every form, behind a reverse proxy, on a machine that SSH reaches,
//! behind a login.

mod authority;
mod backup;
mod here;
mod login;
mod nginx;
mod over_ssh;
mod service_token;
mod signing;

use anyhow::{Result, ensure};
use openshell_tests::world::{Ran, World, finish};

/// Runs `openshell …` with `OPENSHELL_GATEWAY` set.
async fn at(world: &World, gateway: &str, words: &[&str]) -> Result<Ran> {
    let mut command = world.command(words);
    command.env("OPENSHELL_GATEWAY", gateway);
    finish(command).await
}

/// A workload that asks for a page ten times a second, and keeps what came of it: a status per line.
const TRAFFIC: &str =
    "while :; do curl -sS -m 20 -o /dev/null -w '%{http_code}\\n' $URL >>seen 2>&1 || true; sleep 0.1; done";

/// Every line of what traffic has seen is `200`, and there are at least so many. Answers how many.
fn unbroken(seen: &str, least: usize) -> Result<usize> {
    let lines: Vec<&str> = seen.lines().collect();
    let odd: Vec<&&str> = lines.iter().filter(|line| **line != "200").collect();
    ensure!(odd.is_empty(), "traffic failed: {odd:?}");
    ensure!(lines.len() >= least, "{} requests only", lines.len());
    Ok(lines.len())
}
