//! A Rust policy, compiled to Wasm, decides a live sandbox's HTTPS traffic and is swapped under it.

use anyhow::{Result, ensure};

use crate::support::Stage;

const POLICY: &str = include_str!("../../scripts/demo/policy.rs");

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_policy_decides_is_swapped_and_rolled_back() -> Result<()> {
    let stage = Stage::new().await?;
    stage
        .check(&[
            ("curl -sS $API/status", r#""error":"policy_denied""#),
            ("curl -sS -o /dev/null -D - $API/status", "403"),
            ("curl -sS -o /dev/null -D - $API/status", "x-openshell-policy"),
        ])
        .await?;
    ensure!(stage.origin.seen().is_empty(), "nothing may reach the origin before a policy allows it");

    let crate_dir = stage.world.path("policy").to_string_lossy().into_owned();
    stage.run(&["policy", "new", &crate_dir, "--name", "api-reader"]).await?.ok()?;
    stage.world.write("policy/src/lib.rs", POLICY)?;
    let pushed = stage.run(&["policy", "push", &crate_dir, "--sandbox", "demo"]).await?.ok()?;
    ensure!(format!("{}{}", pushed.stdout, pushed.stderr).contains("enforcing"), "{pushed:?}");

    stage
        .check(&[
            ("curl -sS $API/status", "hello from the origin"),
            ("curl -sS -I $API/status", "200"),
            ("curl -sS -X POST -d x=1 $API/status", r#""rule":"read-only""#),
            ("curl -sS -X POST -d x=1 $API/status", r#""hint":"use GET""#),
            ("curl -sS -X POST -d x=1 $API/status", r#""digest":"sha256:"#),
            ("python3 -c \"import requests; print(requests.get('$API/x').text)\"", "hello from the origin"),
            ("python3 -c \"import requests; print(requests.post('$API/x').status_code)\"", "403"),
            ("perl -e 'print 1' | openssl s_client -connect ${API#https://} 2>&1 </dev/null; echo ended", "ended"),
        ])
        .await?;
    let reached = stage.origin.seen();
    ensure!(reached.iter().all(|request| request.method != "POST"), "a refused POST reached the origin: {reached:?}");

    let second = POLICY.replace(r#""GET" | "HEAD" =>"#, r#""GET" | "HEAD" | "POST" =>"#);
    let second = second.replace(r#""GET" | "HEAD") =>"#, r#""GET" | "HEAD" | "POST") =>"#);
    ensure!(second != POLICY, "the second version differs");
    stage.world.write("policy/src/lib.rs", &second)?;
    let manifest = std::fs::read_to_string(stage.world.path("policy/Cargo.toml"))?;
    stage.world.write("policy/Cargo.toml", &manifest.replacen("0.1.0", "0.2.0", 1))?;
    stage.run(&["policy", "push", &crate_dir, "--sandbox", "demo"]).await?.ok()?;
    stage.check(&[("curl -sS -X POST -d x=1 $API/items", r#""method":"POST""#)]).await?;

    stage.run(&["policy", "rollback", "demo"]).await?.ok()?;
    stage.check(&[("curl -sS -X POST -d x=1 $API/items", r#""rule":"read-only""#)]).await?;

    let history = stage.run(&["policy", "history", "demo", "-o", "json"]).await?.ok()?.json()?;
    let enforcing = history.as_array().into_iter().flatten().filter(|row| row["enforcing"] == true).count();
    ensure!(enforcing == 1, "exactly one generation is enforced: {history}");

    let decisions = stage.run(&["decisions", "--sandbox", "demo", "-o", "json"]).await?.ok()?;
    for expected in ["/usr/bin/curl", "read-only", "api-reader@0.1.0", "api-reader@0.2.0", "api.demo.test"] {
        ensure!(decisions.stdout.contains(expected), "{expected} is missing in {}", decisions.stdout);
    }
    Ok(())
}
