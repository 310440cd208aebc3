//! From `sandbox create` to the workload's first instruction, against a bare `docker run` of the same image.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use openshell_tests::world::World;

use crate::report::{Samples, time};

/// Prints its own time first thing; all clocks are this machine's.
const FIRST: [&str; 2] = ["date", "+%s%N"];

/// Creates `count` sandboxes of each kind in turn. `image` must hold `date`; without an engine only `process` is
/// measured.
pub fn run(count: u32, image: &str) -> Result<()> {
    let world = World::new()?;
    world.run(&["gateway", "start"])?.ok()?;
    let docker =
        Command::new("docker").args(["image", "inspect", image]).output().is_ok_and(|ran| ran.status.success());
    let (mut process, mut contained, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    // The first of each kind warms caches and is not counted.
    for round in 0..=count {
        let keep = |samples: &mut Vec<f64>, found: f64| {
            if round > 0 {
                samples.push(found)
            }
        };
        let name = format!("start-{round}");
        keep(&mut process, sandbox(&world, &name, &["--runtime", "process"])?);
        if docker {
            keep(&mut contained, sandbox(&world, &name, &["--from", image])?);
            keep(&mut bare, bare_container(image)?);
        }
    }
    println!("## From `sandbox create` to the workload's first instruction\n");
    println!("{count} of each in turn, with default deny, through the command line.\n");
    println!("| | median | p99 |\n|---|---|---|");
    for (what, samples) in [("`process`", process), ("`docker`", contained), ("bare `docker run`", bare)] {
        if samples.is_empty() {
            println!("| {what} | no engine, or no image {image} | |");
            continue;
        }
        let samples = Samples::from(samples);
        println!("| {what} | {} | {} |", time(samples.quantile(0.5)), time(samples.quantile(0.99)));
    }
    println!();
    Ok(())
}

fn sandbox(world: &World, name: &str, options: &[&str]) -> Result<f64> {
    let began = now()?;
    let ran = world.run(&[&["sandbox", "create", "--name", name][..], options, &["--"], &FIRST].concat())?.ok()?;
    let first = since(began, &ran.stdout)?;
    world.run(&["sandbox", "delete", name])?.ok()?;
    Ok(first)
}

fn bare_container(image: &str) -> Result<f64> {
    let began = now()?;
    let output = Command::new("docker").args(["run", "--rm", image]).args(FIRST).output()?;
    ensure!(output.status.success(), "docker run: {}", String::from_utf8_lossy(&output.stderr));
    since(began, &String::from_utf8_lossy(&output.stdout))
}

/// Nanoseconds since the Unix epoch.
fn now() -> Result<u128> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())
}

/// Nanoseconds from `began` to what the workload printed.
fn since(began: u128, printed: &str) -> Result<f64> {
    let first: u128 = printed.trim().parse().with_context(|| format!("not a time: {printed:?}"))?;
    Ok(first.saturating_sub(began) as f64)
}
