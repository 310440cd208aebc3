//! Protocols through the inspecting proxy.

use anyhow::{Result, ensure};

use crate::support::{FULL, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn http1_http2_streams_and_trailers_pass() -> Result<()> {
    let stage = Stage::new().await?;
    stage.rules(FULL).await?.ok()?;
    stage
        .check(&[
            ("curl -sS --http1.1 -w '%{http_version}' $API/", "1.1"),
            ("curl -sS --http2 -w '%{http_version}' $API/", "hello from the origin\n2"),
            ("curl -sS -N $API/sse", "data: 4"),
            ("curl -sS --http2 -i $API/trailers", "x-checksum: abc"),
            ("head -c 3000000 /dev/zero | curl -sS --data-binary @- $API/upload", r#""bytes":3000000"#),
            (
                "head -c 300000 /dev/zero | curl -sS -H 'Transfer-Encoding: chunked' --http1.1 -T - $API/chunked",
                r#""bytes":300000"#,
            ),
        ])
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn explicit_proxying_meets_the_same_rules() -> Result<()> {
    let stage = Stage::new().await?;
    stage.rules(FULL).await?.ok()?;
    stage
        .check(&[
            ("curl -sS -x http://127.0.0.1:3128 $API/status", "hello from the origin"),
            ("curl -sS -x http://127.0.0.1:3128 http://elsewhere.test/", "policy_denied"),
            ("curl -sS -x http://127.0.0.1:3128 https://elsewhere.test/", "403"),
        ])
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_other_way_out() -> Result<()> {
    let stage = Stage::new().await?;
    stage.rules(FULL).await?.ok()?;
    let port = stage.origin.address.port();
    stage
        .check(&[
            ("grep -c : /proc/net/dev; cat /proc/net/dev", "1\nInter-"),
            (&format!("curl -sS --noproxy '*' -k https://127.0.0.1:{port}/; echo code=$?"), "code="),
            ("grep CapEff /proc/self/status", "0000000000000000"),
            ("grep NoNewPrivs /proc/self/status", "1"),
        ])
        .await?;
    let reached = stage.origin.seen();
    ensure!(reached.is_empty(), "the origin's address, dialled past the proxy, answered: {reached:?}");
    Ok(())
}
