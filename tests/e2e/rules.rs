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
async fn rules_tell_programs_by_digest_script_and_ancestor() -> Result<()> {
    let stage = Stage::new().await?;
    let only = |binary: &str| FULL.replace("{path: /usr/bin/curl}", binary);
    let digest = stage.inside("sha256sum /usr/bin/curl | cut -c1-64").await?.ok()?.stdout;
    let direct = "curl -sS $API/status";
    let below = "export API; python3 -c 'import os; os.system(\"curl -sS $API/status\")'";
    let script = "echo \"import requests; print(requests.get('$API/x').status_code)\" > NAME; python3 NAME";
    let (agent, other) = (script.replace("NAME", "agent.py"), script.replace("NAME", "other.py"));
    let (reached, denied) = ("hello from the origin", "policy_denied");
    for (binary, rows) in [
        (format!("{{path: /usr/bin/curl, sha256: {}}}", digest.trim()), [(direct, reached), (agent.as_str(), "403")]),
        (format!("{{path: /usr/bin/curl, sha256: {}}}", "0".repeat(64)), [(direct, denied), (below, denied)]),
        ("{path: /usr/bin/curl, ancestor: '/usr/bin/python3*'}".to_owned(), [(direct, denied), (below, reached)]),
        ("{path: '/usr/bin/python3*', script: '/**/agent.py'}".to_owned(), [(agent.as_str(), "200"), (&other, "403")]),
    ] {
        stage.rules(&only(&binary)).await?.ok()?;
        stage.check(&rows).await?;
    }
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

const OPERATIONS: &str = "version: 1
network_policies:
  operations:
    endpoints:
      - host: api.demo.test
        port: PORT
        path: /graphql
        protocol: graphql
        access: read-only
        allowed_ips: [127.0.0.0/8]
      - host: api.demo.test
        port: PORT
        path: /mcp
        protocol: mcp
        rules:
          - allow: {tool: 'read_*'}
    binaries: [{path: /usr/bin/curl}]
";

#[tokio::test(flavor = "multi_thread")]
async fn operations_in_bodies_are_judged_and_refused_in_their_own_form() -> Result<()> {
    let stage = Stage::new().await?;
    stage.rules(OPERATIONS).await?.ok()?;
    let send = |path: &str, body: &str| {
        format!("curl -sS -H 'content-type: application/json' -d '{body}' -w ' %{{http_code}}' $API{path}")
    };
    let call = |tool: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#)
    };
    let (mutation, write) = (r#"{"query":"mutation { drop }"}"#, call("write_file"));
    let rows = [
        (send("/graphql", r#"{"query":"{ viewer }"}"#), " 201"),
        (send("/graphql", mutation), r#""errors":[{"extensions":{"code":"policy_denied"}"#),
        (send("/graphql", mutation), " 403"),
        (send("/graphql", r#"{"query":"{ a }","query":"mutation { drop }"}"#), "stands twice"),
        (send("/mcp", &call("read_file")), r#""method":"POST""#),
        (send("/mcp", &write), r#""id":7"#),
        (send("/mcp", &write), r#""code":-32001"#),
        (send("/mcp", &write), r#"tool: \"write_file\""#),
        (send("/mcp", &write), " 200"),
        (send("/other", "{}"), " 403"),
    ];
    let rows: Vec<_> = rows.iter().map(|(script, expected)| (script.as_str(), *expected)).collect();
    stage.check(&rows).await?;
    let seen = stage.origin.seen();
    ensure!(seen.len() == 2, "only what was allowed reaches the origin: {} requests", seen.len());
    Ok(())
}
