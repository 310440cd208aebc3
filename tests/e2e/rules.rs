//! Declarative rules on a live sandbox.

use anyhow::{Result, ensure};

use crate::support::{FULL, READ_ONLY, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn rules_decide_by_host_program_and_method() -> Result<()> {
    let stage = Stage::new().await?;
    stage.rules(READ_ONLY).await?.ok()?;
    stage
        .check(&[
            ("curl -sS $API/status", "hello from the origin"),
            ("curl -sS -X DELETE $API/status", "policy_denied"),
            ("curl -sS https://elsewhere.test/", "policy_denied"),
            ("python3 -c \"import requests; print(requests.get('$API/x').status_code)\"", "403"),
        ])
        .await?;
    stage.rules(FULL).await?.ok()?;
    stage.check(&[("curl -sS -X DELETE $API/status", r#""method":"DELETE""#)]).await?;

    let shown = stage.run(&["policy", "get", "demo"]).await?.ok()?;
    ensure!(shown.stdout.contains("access: full"), "the rules come back as written: {}", shown.stdout);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_rules_changes_nothing() -> Result<()> {
    let stage = Stage::new().await?;
    stage.rules(READ_ONLY).await?.ok()?;
    for (yaml, expected) in [
        ("version: 1\nnetwork_polices: {}\n", "line 2, column 1"),
        (
            "version: 1\nnetwork_policies:\n  a:\n    endpoints: [{host: x.test, port: 443, acess: full}]\n",
            "line 4, column",
        ),
        ("version: 1\nnetwork_policies: [\n", "error"),
    ] {
        let refused = stage.rules(yaml).await?;
        ensure!(refused.code != 0, "{yaml} was accepted");
        ensure!(refused.stderr.contains(expected), "expected {expected:?} in {}", refused.stderr);
    }
    stage.check(&[("curl -sS $API/status", "hello from the origin")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_address_needs_a_grant() -> Result<()> {
    let stage = Stage::new().await?;
    stage.rules(&FULL.replace(", allowed_ips: [127.0.0.0/8]", "")).await?.ok()?;
    stage.check(&[("curl -sS $API/status", "ssrf_denied")]).await?;
    ensure!(stage.origin.seen().is_empty());
    Ok(())
}
