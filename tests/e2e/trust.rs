//! Changing policy with confidence: observe, suggest, explain, replay, shadow, promote.

use std::time::Duration;

use anyhow::{Result, ensure};
use openshell_tests::world::Ran;

use crate::support::{FULL, READ_ONLY, Stage};

/// Runs a command until its output holds something: records travel a moment.
async fn eventually(stage: &Stage, arguments: &[&str], expected: &str) -> Result<Ran> {
    let mut ran = stage.run(arguments).await?;
    for _ in 0..50 {
        if ran.stdout.contains(expected) {
            return Ok(ran);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        ran = stage.run(arguments).await?;
    }
    anyhow::bail!("{arguments:?}: expected {expected:?} in {ran:?}")
}

async fn in_trial(stage: &Stage, script: &str) -> Result<Ran> {
    let script = format!("API={}; {script}", stage.api);
    stage.run(&["sandbox", "exec", "trial", "--", "sh", "-c", &script]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_observed_becomes_rules_that_allow_it() -> Result<()> {
    let stage = Stage::new().await?;
    let create = ["sandbox", "create", "--name", "trial", "--observe", "--add-host", "api.demo.test:127.0.0.1"];
    stage.run(&create).await?.ok()?;
    let shown = stage.run(&["policy", "get", "trial"]).await?.ok()?;
    ensure!(shown.stdout.contains("observes"), "{}", shown.stdout);
    let listed = stage.run(&["sandbox", "list"]).await?.ok()?.stdout;
    let mode = |name: &str, mode: &str| listed.lines().any(|line| line.starts_with(name) && line.contains(mode));
    ensure!(mode("trial", "observing") && mode("demo", "enforcing"), "{listed}");

    let observed = in_trial(&stage, "curl -sS $API/status").await?;
    ensure!(observed.stdout.contains("ssrf_denied"), "private addresses stay refused: {observed:?}");
    ensure!(stage.origin.seen().is_empty(), "and nothing reached one");
    eventually(&stage, &["decisions", "--sandbox", "trial"], "allow (audit)").await?;

    let cautious = eventually(&stage, &["policy", "suggest", "trial"], "not public, and refused so far").await?;
    for expected in ["host: api.demo.test", "access: read-only", "GET /status (1)", "/usr/bin/curl"] {
        ensure!(cautious.stdout.contains(expected), "{expected} in {}", cautious.stdout);
    }
    stage.run(&["policy", "suggest", "trial", "--exact", "--allow-private", "--out", "seen.yaml"]).await?.ok()?;
    let replayed = stage.run(&["policy", "replay", "seen.yaml", "--sandbox", "trial"]).await?;
    ensure!(replayed.code == 0, "the suggestion covers all that was seen: {replayed:?}");
    stage.run(&["policy", "set", "trial", "--policy", "seen.yaml"]).await?.ok()?;
    let listed = stage.run(&["sandbox", "list"]).await?.ok()?.stdout;
    ensure!(!listed.contains("observing"), "{listed}");

    let allowed = in_trial(&stage, "curl -sS $API/status").await?;
    ensure!(allowed.stdout.contains("hello from the origin"), "{allowed:?}");
    let denied = in_trial(&stage, "curl -sS -X POST -d x=1 $API/status").await?;
    ensure!(denied.stdout.contains("policy_denied"), "setting rules ends the observation: {denied:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_is_asked_about_what_was_decided() -> Result<()> {
    let stage = Stage::new().await?;
    let unbound = stage.inside("curl -sS $API/status").await?.json()?;
    stage.rules(READ_ONLY).await?.ok()?;
    stage.check(&[("curl -sS $API/status", "hello from the origin")]).await?;
    let refused = stage.inside("curl -sS -X POST -d x=1 \"$API/items?token=s3cr3t-value\"").await?.json()?;
    let id = refused["decision"].as_str().unwrap_or_default().to_owned();

    let decisions = eventually(&stage, &["decisions", "--sandbox", "demo", "-o", "json"], &id).await?;
    ensure!(!decisions.stdout.contains("s3cr3t"), "secrets are never recorded: {}", decisions.stdout);
    let explained = stage.run(&["policy", "explain", &id]).await?.ok()?;
    for expected in ["any denial wins: rules", "rules@", "to allow it:", "POST api.demo.test"] {
        ensure!(explained.stdout.contains(expected), "{expected} in {}", explained.stdout);
    }
    let unbound = unbound["decision"].as_str().unwrap_or_default().to_owned();
    let explained = stage.run(&["policy", "explain", &unbound]).await?.ok()?;
    ensure!(
        explained.stdout.contains("no policy is bound") && explained.stdout.contains("host: api.demo.test"),
        "{explained:?}"
    );
    let unknown = stage.run(&["policy", "explain", "01NOSUCHDECISION"]).await?;
    ensure!(unknown.code == 1 && unknown.stderr.starts_with("error: there is no decision"), "{unknown:?}");

    let port = stage.origin.address.port().to_string();
    for (name, yaml, code, expected) in [
        ("same.yaml", READ_ONLY.to_owned(), 2, "deny → allow"),
        ("full.yaml", FULL.to_owned(), 2, "deny → allow"),
        ("other.yaml", READ_ONLY.replace("/usr/bin/curl", "/usr/bin/wget"), 2, "allow → deny"),
    ] {
        stage.world.write(name, &yaml.replace("PORT", &port))?;
        let replayed = stage.run(&["policy", "replay", name, "--sandbox", "demo"]).await?;
        ensure!(replayed.code == code && replayed.stdout.contains(expected), "{name}: {replayed:?}");
    }
    let replayed = stage.run(&["policy", "replay", "full.yaml", "--sandbox", "demo", "-o", "json"]).await?.json()?;
    let posts = replayed["groups"].as_array().into_iter().flatten().find(|group| group["method"] == "POST");
    ensure!(posts.is_some_and(|group| group["example"] == id.as_str() && group["count"] == 1), "{replayed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_asked_and_obeyed_only_when_promoted() -> Result<()> {
    let stage = Stage::new().await?;
    stage.rules(READ_ONLY).await?.ok()?;
    stage.run(&["policy", "new", "tls-only", "--template", "connect"]).await?.ok()?;
    let settings = r#"{"hosts": ["api.demo.test"]}"#;
    let push = ["policy", "push", "tls-only", "--sandbox", "demo", "--shadow", "--settings", settings];
    stage.run(&push).await?.ok()?;

    let unasked = stage.run(&["policy", "promote", "demo"]).await?;
    ensure!(unasked.code == 1 && unasked.stderr.contains("was asked about 0 decisions"), "{unasked:?}");
    stage.check(&[("curl -sS $API/status", "hello from the origin")]).await?;
    let report = eventually(&stage, &["policy", "shadow-report", "demo"], "allow → deny").await?;
    ensure!(report.stdout.contains("tls-only"), "{}", report.stdout);
    let refused = stage.run(&["policy", "promote", "demo"]).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("stays a shadow: it would have changed"), "{refused:?}");
    stage.check(&[("curl -sS $API/status", "hello from the origin")]).await?;

    stage.run(&["policy", "promote", "demo", "--max-flips", "1000"]).await?.ok()?;
    stage.check(&[("curl -sS $API/status", "tls-only")]).await?;
    let none = stage.run(&["policy", "shadow-report", "demo"]).await?.ok()?;
    ensure!(none.stdout.contains("no shadows"), "{}", none.stdout);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_policies_are_compared_on_what_was_asked_and_on_what_lies_near() -> Result<()> {
    let stage = Stage::new().await?;
    stage.rules(READ_ONLY).await?.ok()?;
    stage.check(&[("curl -sS -X POST -d x=1 $API/items", "policy_denied")]).await?;
    eventually(&stage, &["decisions", "--sandbox", "demo"], "POST api.demo.test").await?;
    let port = stage.origin.address.port().to_string();
    stage.world.write("old.yaml", &READ_ONLY.replace("PORT", &port))?;
    let wider = READ_ONLY.replace("read-only", "read-write").replace("api.demo.test", "'*.demo.test'");
    stage.world.write("new.yaml", &wider.replace("PORT", &port))?;

    let same = stage.run(&["policy", "diff", "old.yaml", "old.yaml", "--sandbox", "demo"]).await?.ok()?;
    ensure!(same.stdout.contains("none") || same.stdout.contains('0'), "{same:?}");
    let differ = stage.run(&["policy", "diff", "old.yaml", "new.yaml", "--sandbox", "demo", "-o", "json"]).await?;
    ensure!(differ.code == 2, "{differ:?}");
    let report = differ.json()?;
    let groups = report["disagreements"].as_array().cloned().unwrap_or_default();
    let find = |about: &str| groups.iter().find(|group| group["about"] == about);
    let posted = find("POST api.demo.test").ok_or_else(|| anyhow::anyhow!("no POST in {report:#}"))?;
    ensure!(posted["recorded"] == true && posted["a"] == "deny", "what really happened is told: {posted}");
    ensure!(posted["b"].as_str().is_some_and(|b| b.starts_with("allow")), "{posted}");
    ensure!(find("GET x.demo.test").is_some(), "a name beside it was tried: {report:#}");
    ensure!(find("DELETE api.demo.test").is_none(), "neither lets DELETE through: {report:#}");
    let gone = stage.run(&["policy", "diff", "old.yaml", "gone.yaml"]).await?;
    ensure!(gone.code != 0 && gone.stderr.contains("gone.yaml"), "{gone:?}");
    Ok(())
}
