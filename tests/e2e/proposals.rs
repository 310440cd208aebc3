//! An agent reads why it was refused, asks for more, waits, and goes on.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::support::{READ_ONLY, Stage};

/// Asks from inside; answers the proposal's id.
async fn propose(stage: &Stage, proposal: &str) -> Result<String> {
    stage.upload("proposal.json", proposal).await?;
    let ran = stage.inside("curl -sS http://policy.local/v1/proposals -d @proposal.json").await?;
    let answer: Value = ran.json()?;
    answer["id"].as_str().map(str::to_owned).with_context(|| format!("no proposal: {answer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_asks_and_goes_on_when_the_user_agrees() -> Result<()> {
    let stage = Stage::new().await?;
    stage.rules(READ_ONLY).await?.ok()?;
    let refused = stage.inside("curl -sS -X POST -d x=1 $API/items").await?.json()?;
    ensure!(refused["ask"] == "http://policy.local/v1/proposals", "a refusal says where to ask: {refused}");
    let denials = stage.inside("curl -sS http://policy.local/v1/denials").await?.json()?;
    let newest = &denials["denials"][0];
    ensure!(newest["decision"] == refused["decision"] && newest["rule"] == refused["rule"], "{denials}");
    ensure!(newest["path"] == "/items" && newest["hint"].is_string() && newest["times"] == 1, "{denials}");
    let over_tls = stage.inside("curl -sS https://policy.local/v1/denials?limit=1").await?.json()?;
    ensure!(over_tls["denials"].as_array().map(Vec::len) == Some(1), "{over_tls}");

    let port = stage.origin.address.port();
    let ask = format!(
        r#"{{"reason": "items must be posted", "endpoints": [{{"host": "api.demo.test", "port": {port},
            "allow": [{{"method": "POST", "path": "/items"}}]}}]}}"#
    );
    let id = propose(&stage, &ask).await?;
    let listed = stage.run(&["proposal", "list"]).await?.ok()?;
    ensure!(listed.stdout.contains(&id) && listed.stdout.contains("items must be posted"), "{listed:?}");
    let shown = stage.run(&["proposal", "show", &id]).await?.ok()?;
    for expected in [
        "+          - allow: {method: \"POST\", path: \"/items\"}",
        "/usr/bin/curl",
        "was refused once",
        "generation 2",
    ] {
        ensure!(shown.stdout.contains(expected), "{expected} in {}", shown.stdout);
    }
    let unseen = stage.run(&["proposal", "approve", &id]).await?;
    ensure!(unseen.code == 1 && unseen.stderr.contains("standard input is no terminal"), "{unseen:?}");

    // The agent waits; the user agrees; the agent goes on.
    let script =
        format!("curl -sS 'http://policy.local/v1/proposals/{id}?wait=50' && curl -sS -X POST -d x=1 $API/items");
    let waiting = stage.inside(&script);
    let agreed = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        stage.run(&["proposal", "approve", &id, "--generation", "2"]).await
    };
    let (waited, agreed) = tokio::join!(waiting, agreed);
    agreed?.ok()?;
    let waited = waited?;
    ensure!(waited.stdout.contains(r#""state": "approved""#), "{waited:?}");
    ensure!(waited.stdout.contains(r#""method":"POST""#), "it is in force when it is told so: {waited:?}");
    stage.check(&[("curl -sS -X POST -d x=1 $API/other", "policy_denied")]).await?;
    let rules = stage.run(&["policy", "get", "demo"]).await?.ok()?;
    ensure!(rules.stdout.contains("access: read-only") && rules.stdout.contains("proposal-"), "{}", rules.stdout);
    stage.run(&["policy", "rollback", "demo"]).await?.ok()?;
    stage.check(&[("curl -sS -X POST -d x=1 $API/items", "policy_denied")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_only_a_claim() -> Result<()> {
    let stage = Stage::new().await?;
    let claim = r#"{"reason": "routine", "endpoints": [{"host": "169.254.169.254", "port": 80}, {"host": "**.com"},
        {"host": "api.demo.test", "allowed_ips": ["127.0.0.0/8"]}], "binaries": ["/**"]}"#;
    let id = propose(&stage, claim).await?;
    let shown = stage.run(&["proposal", "show", &id]).await?.ok()?;
    for expected in ["metadata service", "top-level domain", "private addresses in 127.0.0.0/8", "stands for many"] {
        ensure!(shown.stdout.contains(expected), "{expected} in {}", shown.stdout);
    }
    let hasty = stage.run(&["proposal", "approve", &id, "--yes"]).await?;
    ensure!(hasty.code == 1 && hasty.stderr.contains("error: the proposal is dangerous"), "{hasty:?}");
    stage.check(&[("curl -sS $API/status", "policy_denied")]).await?;

    // The policy changes while somebody looks.
    stage.rules(READ_ONLY).await?.ok()?;
    let late = stage.run(&["proposal", "approve", &id, "--generation", "1", "--accept-dangers"]).await?;
    ensure!(late.code == 1 && late.stderr.contains("changed") && late.stderr.contains("proposal show"), "{late:?}");
    let script = format!("curl -sS 'http://policy.local/v1/proposals/{id}?wait=50'");
    let waiting = stage.inside(&script);
    let reject = ["proposal", "reject", &id, "--reason", "ask for one host"];
    let (waited, refused) = tokio::join!(waiting, stage.run(&reject));
    refused?.ok()?;
    let answer = waited?.json()?;
    ensure!(answer["state"] == "rejected" && answer["reason"] == "ask for one host", "{answer}");
    let none = stage.run(&["proposal", "list"]).await?.ok()?;
    ensure!(none.stdout.contains("nobody asks"), "{none:?}");
    let all = stage.run(&["proposal", "list", "--all", "-o", "json"]).await?.ok()?.json()?;
    ensure!(all[0]["state"] == "rejected", "{all}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policy_local_does_not_answer_is_refused_there() -> Result<()> {
    // The name resolves to a real server: it must never be reached.
    let stage = Stage::knowing(&["policy.local"]).await?;
    let port = stage.origin.address.port();
    let code = |target: &str| format!("curl -sS -o /dev/null -w '%{{http_code}}' {target}");
    stage
        .check(&[
            (&code("http://policy.local/"), "404"),
            (&code("-X DELETE http://policy.local/v1/denials"), "405"),
            (&code("-d nonsense http://policy.local/v1/proposals"), "400"),
            (
                "head -c 20000 /dev/zero | tr '\\0' x > big; curl -sS -d @big http://policy.local/v1/proposals",
                "too_large",
            ),
            (&format!("curl -sS -k https://policy.local:{port}/status"), "no_such_path"),
        ])
        .await?;
    ensure!(stage.origin.seen().is_empty(), "nothing left the sandbox");

    // Without a gateway what was refused is still told, and nothing is promised.
    let asks = r#"curl -sS http://elsewhere.test/ > /dev/null
        while sleep 0.2; do
            curl -sS http://policy.local/v1/denials | grep -o '"host": "elsewhere.test"'
            curl -sS http://policy.local/v1/proposals -d '{"reason": "r", "endpoints": [{"host": "a.test"}]}' | grep -o 'gateway_away'
        done >> seen"#;
    stage.run(&["sandbox", "create", "--name", "away", "--detach", "--", "sh", "-c", asks]).await?.ok()?;
    stage.run(&["gateway", "stop"]).await?.ok()?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ca = stage.world.path("origins.pem");
    stage.run(&["gateway", "start", "--upstream-ca", &ca.to_string_lossy()]).await?.ok()?;
    let read = ["sandbox", "exec", "away", "--", "cat", "seen"];
    let mut seen = stage.run(&read).await?;
    for _ in 0..50 {
        if seen.stdout.contains("gateway_away") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        seen = stage.run(&read).await?;
    }
    ensure!(seen.stdout.contains("gateway_away") && seen.stdout.contains("elsewhere.test"), "{seen:?}");
    Ok(())
}
