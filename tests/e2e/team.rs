//! One gateway for several people: users and their sandboxes, logins at an OpenID provider, keys that are renewed, and the trail of who
//! did what.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use openshell_tests::servers::{self, Server};
use openshell_tests::world::{Ran, World, finish};

/// Somebody at another machine: the gateway's URL and CA, and a token.
struct Member {
    token: String,
    url: String,
    ca: PathBuf,
}

impl Member {
    async fn new(world: &World, token: &str) -> Result<Self> {
        let state = world.path("state/openshell/gateway");
        let endpoint: serde_json::Value = serde_json::from_slice(&std::fs::read(state.join("endpoint.json"))?)?;
        let url = endpoint["url"].as_str().context("a URL")?.to_owned();
        Ok(Self { token: token.trim().to_owned(), url, ca: state.join("ca.pem") })
    }

    async fn run(&self, world: &World, arguments: &[&str]) -> Result<Ran> {
        let mut command = world.command(arguments);
        command.env("OPENSHELL_GATEWAY", &self.url).env("OPENSHELL_TOKEN", &self.token);
        command.env("OPENSHELL_CA_FILE", &self.ca);
        finish(command).await
    }

    /// Runs what must be refused, for this reason.
    async fn refused(&self, world: &World, arguments: &[&str], reason: &str) -> Result<()> {
        let ran = self.run(world, arguments).await?;
        ensure!(ran.code == 1 && ran.stderr.contains(reason), "{arguments:?}: {ran:?}");
        Ok(())
    }
}

async fn run(world: &World, arguments: &[&str]) -> Result<Ran> {
    finish(world.command(arguments)).await
}

/// A user with a token.
async fn member(world: &World, name: &str, role: &str) -> Result<Member> {
    run(world, &["user", "create", name, "--role", role]).await?.ok()?;
    let token = run(world, &["token", "create", "laptop", "--user", name, "--expires", "1d"]).await?.ok()?;
    Member::new(world, &token.stdout).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_shares_a_gateway_and_its_trail_shows_who_did_what() -> Result<()> {
    let world = World::new()?;
    run(&world, &["gateway", "start"]).await?.ok()?;
    let (otto, olga) = (member(&world, "otto", "operator").await?, member(&world, "olga", "operator").await?);
    let vera = member(&world, "vera", "viewer").await?;
    let me = otto.run(&world, &["user", "whoami", "-o", "json"]).await?.ok()?.json()?;
    ensure!(
        me["user"] == "otto" && me["role"] == "operator" && me["via"] == "token" && me["expires"].is_string(),
        "{me}"
    );

    otto.run(&world, &["sandbox", "create", "--name", "his"]).await?.ok()?;
    let ran = otto.run(&world, &["sandbox", "exec", "his", "--", "echo", "his own"]).await?.ok()?;
    ensure!(ran.stdout == "his own\n", "{ran:?}");
    let rules = world.write("rules.yaml", "version: 1\n")?;
    let set = ["policy", "set", "his", "--policy", &rules.to_string_lossy()];
    otto.run(&world, &set).await?.ok()?;
    let listed = vera.run(&world, &["sandbox", "list"]).await?.ok()?.stdout;
    ensure!(listed.lines().nth(1).is_some_and(|line| line.starts_with("his   otto")), "{listed}");
    for arguments in [&set[..], &["sandbox", "exec", "his", "--", "true"], &["sandbox", "delete", "his"]] {
        olga.refused(&world, arguments, "sandbox his belongs to otto, not to olga").await?;
        vera.refused(&world, arguments, "needs the role operator").await?;
    }
    otto.refused(&world, &["user", "create", "x", "--role", "admin"], "needs the role admin").await?;
    otto.refused(&world, &["audit", "list"], "needs the role admin").await?;

    // A token that is revoked, and a user that is deleted, open nothing.
    let tokens = olga.run(&world, &["token", "list", "-o", "json"]).await?.ok()?.json()?;
    let id = tokens[0]["id"].as_str().context("an id")?;
    olga.run(&world, &["token", "revoke", id]).await?.ok()?;
    olga.refused(&world, &["sandbox", "list"], "no valid bearer token").await?;
    run(&world, &["user", "delete", "vera"]).await?.ok()?;
    vera.refused(&world, &["sandbox", "list"], "no valid bearer token").await?;

    let told = run(&world, &["audit", "list", "--limit", "100"]).await?.ok()?.stdout;
    for expected in [
        "otto          127.0.0.1  sandbox.create  his ",
        "otto          127.0.0.1  sandbox.stream  his ",
        "olga          127.0.0.1  sandbox.delete  his             refused (not_yours)",
        "vera          127.0.0.1  policy.push     -               refused (forbidden)",
        "admin         127.0.0.1  user.delete     vera            done",
    ] {
        // How wide columns are is of no matter.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(told.lines().any(|line| words(line).contains(&words(expected))), "{expected} in\n{told}");
    }
    let verified = run(&world, &["audit", "verify", "-o", "json"]).await?.ok()?.json()?;
    let key = verified["head"]["key"].as_str().context("a key")?.to_owned();
    let exported = run(&world, &["audit", "export"]).await?.ok()?.stdout;
    for secret in [&otto.token, &olga.token, &vera.token] {
        ensure!(!exported.contains(secret.as_str()) && !told.contains(secret.as_str()), "a token is told");
    }
    let file = world.write("trail.jsonl", &exported)?.to_string_lossy().into_owned();
    run(&world, &["audit", "verify", "--file", &file, "--key", &key]).await?.ok()?;
    let forged =
        world.write("forged.jsonl", &exported.replacen("\"otto\"", "\"olga\"", 1))?.to_string_lossy().into_owned();
    let ran = run(&world, &["audit", "verify", "--file", &forged]).await?;
    ensure!(ran.code == 1 && ran.stderr.contains("error: the audit trail is broken: link "), "{ran:?}");

    // Somebody gets at the database while nobody looks.
    run(&world, &["gateway", "stop"]).await?.ok()?;
    let database = world.path("state/openshell/gateway/gateway.db");
    let program = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute(\"DELETE FROM audit WHERE seq > 6\"); c.commit()";
    let cut = finish({
        let mut command = Command::new("python3");
        command.args(["-c", program]).arg(&database);
        command
    });
    cut.await?.ok()?;
    run(&world, &["gateway", "start"]).await?.ok()?;
    let ran = run(&world, &["audit", "verify"]).await?;
    ensure!(ran.code == 1 && ran.stderr.contains("its end was cut off (entry 7)"), "{ran:?}");
    Ok(())
}

/// An OpenID provider from PyPI, with two users; one of them is of the platform team.
fn provider(port: u16) -> Result<Server> {
    let mut command = Command::new(servers::python()?.with_file_name("oidc-provider-mock"));
    command.args(["--port", &port.to_string()]);
    for user in [
        r#"{"sub": "alice", "groups": ["platform", "all"]}"#,
        r#"{"sub": "bob", "groups": ["all"]}"#,
        r#"{"sub": "eve", "groups": ["guests"]}"#,
    ] {
        command.args(["--user-claims", user]);
    }
    Server::program(command, port)
}

async fn log_in(issuer: &str, client: &str, user: &str) -> Result<String> {
    let mut command = Command::new(servers::python()?);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/login.py")).args([issuer, client, user]);
    Ok(finish(command).await?.ok()?.stdout.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn people_log_in_at_an_openid_provider_whose_keys_turn() -> Result<()> {
    let port = servers::free_port()?;
    let first = tokio::task::block_in_place(|| provider(port))?;
    let issuer = format!("http://127.0.0.1:{port}");
    let world = World::new()?
        .with_env("OPENSHELL_OIDC_ISSUER", &issuer)
        .with_env("OPENSHELL_OIDC_AUDIENCE", "openshell")
        .with_env("OPENSHELL_OIDC_ROLE_CLAIM", "groups")
        .with_env("OPENSHELL_OIDC_ROLE", "admin=platform,operator=all");
    run(&world, &["gateway", "start"]).await?.ok()?;
    let by = async |client: &str, user: &str| Member::new(&world, &log_in(&issuer, client, user).await?).await;
    let alice = by("openshell", "alice").await?;
    let me = alice.run(&world, &["user", "whoami", "-o", "json"]).await?.ok()?.json()?;
    ensure!(
        me["user"] == "oidc:alice" && me["role"] == "admin" && me["via"] == "oidc" && me["expires"].is_string(),
        "{me}"
    );
    let bob = by("openshell", "bob").await?;
    bob.run(&world, &["sandbox", "create", "--name", "bobs"]).await?.ok()?;
    let listed = alice.run(&world, &["sandbox", "list", "-o", "json"]).await?.ok()?.json()?;
    ensure!(listed[0]["owner"] == "oidc:bob", "{listed}");
    bob.run(&world, &["user", "list"]).await?.ok()?;
    bob.refused(&world, &["user", "create", "x", "--role", "admin"], "oidc:bob is operator").await?;
    by("openshell", "eve").await?.refused(&world, &["sandbox", "list"], "oidc:eve has no role on this gateway").await?;
    by("another-app", "alice").await?.refused(&world, &["sandbox", "list"], "the token is for another-app").await?;
    let parts: Vec<&str> = alice.token.split('.').collect();
    let forged = format!("{}.{}.{}", parts[0], parts[1], bob.token.rsplit('.').next().unwrap_or(""));
    Member::new(&world, &forged)
        .await?
        .refused(&world, &["sandbox", "list"], "the token's signature does not hold")
        .await?;

    // It goes away: known keys count. It comes back with others: new tokens count, and old ones do not.
    drop(first);
    alice.run(&world, &["sandbox", "list"]).await?.ok()?;
    let _second = tokio::task::block_in_place(|| provider(port))?;
    let renewed = by("openshell", "alice").await?;
    let began = Instant::now();
    while renewed.run(&world, &["user", "whoami"]).await?.code != 0 {
        ensure!(began.elapsed() < Duration::from_secs(60), "the new keys are not taken");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let ran = alice.run(&world, &["user", "whoami"]).await?;
    ensure!(ran.code == 1, "a key that was withdrawn counts: {ran:?}");
    renewed.run(&world, &["sandbox", "delete", "bobs"]).await?.ok()?;
    Ok(())
}

async fn connected(world: &World, wanted: bool) -> Result<()> {
    let began = Instant::now();
    loop {
        let shown = run(world, &["sandbox", "get", "demo", "-o", "json"]).await?;
        if shown.code == 0 && shown.json()?["connected"] == wanted {
            return Ok(());
        }
        ensure!(began.elapsed() < Duration::from_secs(60), "{shown:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_outlives_its_keys_connected_or_not() -> Result<()> {
    let world = World::new()?.with_env("OPENSHELL_SUPERVISOR_KEY_LIFE", "10");
    run(&world, &["sandbox", "create", "--name", "demo"]).await?.ok()?;
    let state = world.path("state/openshell/gateway/sandboxes");
    let id = run(&world, &["sandbox", "get", "demo", "-o", "json"]).await?.ok()?.json()?;
    let kept = state.join(id["id"].as_str().context("an id")?).join("state/link.json");
    let key = || -> Result<String> {
        let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&kept)?)?;
        Ok(kept["key"].as_str().context("a key")?.to_owned())
    };
    connected(&world, true).await?;
    let first = key()?;
    tokio::time::sleep(Duration::from_secs(12)).await;
    ensure!(key()? != first, "it was renewed over the live link");
    connected(&world, true).await?;

    // Away for longer than its key lives.
    run(&world, &["gateway", "stop"]).await?.ok()?;
    let before = key()?;
    tokio::time::sleep(Duration::from_secs(12)).await;
    run(&world, &["gateway", "start"]).await?.ok()?;
    connected(&world, true).await?;
    run(&world, &["sandbox", "exec", "demo", "--", "true"]).await?.ok()?;
    let began = Instant::now();
    while key()? == before {
        ensure!(began.elapsed() < Duration::from_secs(20), "it has new keys");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What it was started with lies on the disk still, and is worth nothing.
    let launch: serde_json::Value =
        serde_json::from_slice(&std::fs::read(state.join(id["id"].as_str().unwrap_or("")).join("launch.json"))?)?;
    let stale = Member::new(&world, launch["token"].as_str().context("a token")?).await?;
    stale.refused(&world, &["sandbox", "list"], "a supervisor's credential opens nothing but its own link").await?;
    Ok(())
}
