//! `kill -9` on the gateway at random moments of create, push and delete: afterwards nothing half-done remains, and nothing that was
//! acknowledged is missing.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use openshell_tests::world::{Ran, World, finish};
use serde_json::Value;

use crate::support::kill_gateway;

/// Rounds, unless `OPENSHELL_KILLS` says how many.
const ROUNDS: u32 = 8;
/// Longest time between the begin of a round and its kill, in milliseconds.
const WINDOW_MS: u64 = 450;
const RULES: [&str; 2] = ["one.test", "two.test"];

/// Numbers that look random, the same for the same seed (Knuth's MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

async fn run(world: &World, words: &[&str]) -> Result<Ran> {
    finish(world.command(words)).await
}

async fn sandboxes(world: &World) -> Result<Vec<Value>> {
    let listed = run(world, &["sandbox", "list", "-o", "json"]).await?.ok()?.json()?;
    listed.as_array().cloned().context("a list")
}

fn names(sandboxes: &[Value]) -> BTreeSet<String> {
    sandboxes.iter().filter_map(|sandbox| sandbox["name"].as_str().map(str::to_owned)).collect()
}

/// Waits until every sandbox is connected and enforces its newest generation.
async fn settled(world: &World) -> Result<Vec<Value>> {
    let mut last = Vec::new();
    for _ in 0..150 {
        last = sandboxes(world).await?;
        let mut fine = last.iter().all(|sandbox| sandbox["phase"] == "running" && sandbox["connected"] == true);
        for name in &names(&last) {
            let history = run(world, &["policy", "history", name, "-o", "json"]).await?.ok()?.json()?;
            fine &= history[0]["enforcing"] == true;
        }
        if fine {
            return Ok(last);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("not everything came back: {last:#?}")
}

/// What the machine has of sandboxes, by their ids: directories, and supervisors that run.
fn traces(world: &World) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let directory = world.path("state/openshell/gateway/sandboxes");
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(&directory)? {
        found.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    let root = format!("{}/", directory.canonicalize()?.display());
    let listed = std::process::Command::new("pgrep").args(["-fa", "openshell-supervisor --launch"]).output()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let id = |line: &str| Some(line.split_once(&root)?.1.split('/').next()?.to_owned());
    Ok((found, listed.lines().filter_map(id).collect()))
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_the_gateway_is_killed_nothing_half_done_remains() -> Result<()> {
    let rounds = std::env::var("OPENSHELL_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(ROUNDS);
    let seed = std::time::UNIX_EPOCH.elapsed()?.as_secs();
    println!("{rounds} rounds, seed {seed}");
    let mut random = Random(seed);
    let world = World::new()?;
    run(&world, &["gateway", "start"]).await?.ok()?;
    for name in ["keeper", "old-0"] {
        run(&world, &["sandbox", "create", "--name", name]).await?.ok()?;
    }
    let policies = RULES.map(|host| {
        let yaml = format!(
            "version: 1\nnetwork_policies:\n  one:\n    endpoints:\n      - {{host: {host}, port: 443}}\n    binaries: [{{path: /usr/bin/curl}}]\n"
        );
        world.write(&format!("{host}.yaml"), &yaml).map(|path| path.display().to_string())
    });
    let policies: Vec<String> = policies.into_iter().collect::<Result<_>>()?;
    // Compiled beforehand: else a push would hardly be further than that when the gateway is killed.
    for policy in &policies {
        run(&world, &["policy", "set", "keeper", "--policy", policy]).await?.ok()?;
    }
    let mut acknowledged = 0;
    for round in 0..rounds {
        let before = names(&sandboxes(&world).await?);
        let (new, old) = (format!("new-{round}"), before.iter().find(|name| *name != "keeper").cloned());
        let policy = &policies[round as usize % policies.len()];
        let wait = Duration::from_millis(random.below(WINDOW_MS));
        let (create, push) = (["sandbox", "create", "--name", &new], ["policy", "set", "keeper", "--policy", policy]);
        let (created, pushed, deleted, killed) = tokio::join!(
            run(&world, &create),
            run(&world, &push),
            async {
                match &old {
                    Some(old) => run(&world, &["sandbox", "delete", old]).await.map(Some),
                    None => Ok(None),
                }
            },
            async {
                tokio::time::sleep(wait).await;
                kill_gateway(&world)
            },
        );
        killed?;
        let (created, pushed, deleted) = (created?, pushed?, deleted?);
        run(&world, &["gateway", "start"]).await?.ok()?;
        let after = settled(&world).await.with_context(|| format!("round {round}, killed after {wait:?}"))?;
        let context = || format!("round {round}, killed after {wait:?}: {created:?} {pushed:?} {deleted:?} {after:#?}");

        let known = names(&after);
        ensure!(known.contains("keeper"), "{}", context());
        ensure!(created.code != 0 || known.contains(&new), "a sandbox that was made is gone: {}", context());
        if let (Some(old), Some(deleted)) = (&old, &deleted) {
            ensure!(deleted.code != 0 || !known.contains(old), "a deleted sandbox is back: {}", context());
        }
        let policies = run(&world, &["policy", "get", "keeper", "-o", "json"]).await?;
        if pushed.code == 0 {
            acknowledged += 1;
            let wanted = RULES[round as usize % RULES.len()];
            ensure!(policies.stdout.contains(wanted), "a push is lost: {} {}", context(), policies.stdout);
        }
        let ids: BTreeSet<String> =
            after.iter().filter_map(|sandbox| sandbox["id"].as_str().map(str::to_owned)).collect();
        let (left, running) = traces(&world)?;
        ensure!(left == ids, "directories {left:?}: {}", context());
        ensure!(running == ids, "supervisors {running:?}: {}", context());
        // Never more than a few.
        if known.len() > 4 {
            for name in known.iter().filter(|name| *name != "keeper").skip(1) {
                run(&world, &["sandbox", "delete", name]).await?.ok()?;
            }
        }
    }
    println!("{acknowledged} pushes were acknowledged before the gateway was killed");
    run(&world, &["audit", "verify"]).await?.ok()?;
    let broken = run(&world, &["audit", "list", "--action", "audit.broken", "-o", "json"]).await?.ok()?;
    ensure!(broken.json()? == serde_json::json!([]), "{}", broken.stdout);
    Ok(())
}
