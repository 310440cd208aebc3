//! `https://inference.local`: content decides the backend, and keys are swapped.

use anyhow::{Result, ensure};
use openshell_tests::origin::{Origin, OriginConfig};
use tokio::net::TcpListener;

use crate::support::Stage;

async fn model(name: &str) -> Result<Origin> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    Origin::start(listener, OriginConfig { name: name.into(), ..OriginConfig::default() }, None)
}

fn ask(session: &str, stream: bool, prompt: &str) -> String {
    format!(
        "curl -sS -N -i https://inference.local/v1/chat/completions -H 'Authorization: Bearer callers-own' \
         -H 'x-openshell-session: {session}' -H 'Content-Type: application/json' \
         -d '{{\"model\":\"small\",\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"{prompt}\"}}]}}'"
    )
}

fn ask_anthropic(stream: bool, prompt: &str) -> String {
    format!(
        "curl -sS -N -i https://inference.local/v1/messages -H 'x-api-key: callers-own' -H 'anthropic-version: 2023-06-01' \
         -H 'x-openshell-session: anthropic-{stream}-{}' -H 'Content-Type: application/json' \
         -d '{{\"model\":\"small\",\"max_tokens\":64,\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"{prompt}\"}}]}}'",
        prompt.len()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn sensitive_prompts_stay_home_and_keys_are_swapped() -> Result<()> {
    let stage = Stage::new().await?;
    let (cheap, home) = (model("cheap").await?, model("home").await?);
    for (name, origin, locality, clearance, price) in
        [("cheap", &cheap, "public", "public", "0.1"), ("home", &home, "host", "restricted", "0.9")]
    {
        let key = stage.world.write(&format!("{name}.key"), &format!("{name}-secret"))?;
        let provider = format!("{name}-key");
        stage
            .run(&["provider", "create", &provider, "--type", "openai", "--from-file", &key.to_string_lossy()])
            .await?
            .ok()?;
        let url = format!("http://127.0.0.1:{}/v1", origin.address.port());
        stage
            .run(&[
                "inference",
                "backend",
                "add",
                name,
                "--kind",
                "openai",
                "--url",
                &url,
                "--locality",
                locality,
                "--clearance",
                clearance,
                "--provider",
                &provider,
                "--input-price",
                price,
                "--output-price",
                price,
            ])
            .await?
            .ok()?;
    }

    let card = "Is 4111 1111 1111 1111 a valid card?";
    let rows = [
        (ask("a", false, "What is the capital of France?"), "hello from cheap"),
        (ask("a", false, "What is the capital of France?"), "x-openshell-served-by: cheap"),
        (ask("a", true, "What is the capital of France?"), "data: [DONE]"),
        (ask("b", false, card), "hello from home"),
        (ask("b", true, card), "x-openshell-served-by: home"),
        (ask("b", false, "Thank you."), "hello from home"),
        (ask("c", false, "Hello again"), "hello from cheap"),
    ];
    let rows: Vec<(&str, &str)> = rows.iter().map(|(script, expected)| (script.as_str(), *expected)).collect();
    stage.check(&rows).await?;

    for (origin, key) in [(&cheap, "Bearer cheap-secret"), (&home, "Bearer home-secret")] {
        let seen = origin.seen();
        ensure!(!seen.is_empty());
        for request in &seen {
            ensure!(request.headers.get("authorization").map(String::as_str) == Some(key), "{request:?}");
            ensure!(!format!("{request:?}").contains("callers-own"), "the caller's key got out: {request:?}");
        }
    }
    ensure!(cheap.seen().iter().all(|request| !request.body.contains("4111")), "the card got out");

    // An Anthropic client, served by the same OpenAI-style backends.
    stage
        .check(&[
            (&ask_anthropic(false, "Hello"), "\"content\":[{\"type\":\"text\",\"text\":\"hello from cheap\"}]"),
            (&ask_anthropic(true, "Hello"), "event: message_stop"),
            (&ask_anthropic(false, card), "hello from home"),
        ])
        .await?;
    ensure!(cheap.seen().iter().all(|request| !request.body.contains("4111")), "the card got out");

    // The sandbox's own router says the same of a file, and sends nothing.
    let before = (cheap.seen().len(), home.seen().len());
    let body = format!(r#"{{"model":"small","messages":[{{"role":"user","content":"{card}"}}]}}"#);
    let request = stage.world.write("request.json", &body)?;
    let explain = ["inference", "explain", "--sandbox", "demo", "-o", "json", "-f", &request.to_string_lossy()];
    let explained: serde_json::Value = serde_json::from_str(&stage.run(&explain).await?.ok()?.stdout)?;
    ensure!(explained["sensitivity"] == "restricted" && explained["backends"][0]["name"] == "home", "{explained}");
    ensure!(
        explained["passed_over"][0]["name"] == "cheap" && !explained.to_string().contains("4111 1111"),
        "{explained}"
    );
    ensure!((cheap.seen().len(), home.seen().len()) == before, "explain sent something");

    // A restart of the gateway forgets no session.
    stage.run(&["gateway", "stop"]).await?.ok()?;
    stage.run(&["gateway", "start"]).await?.ok()?;
    stage.check(&[(&ask("b", false, "And now?"), "hello from home")]).await?;

    let decisions = stage.run(&["decisions", "--sandbox", "demo", "-o", "json"]).await?.ok()?;
    ensure!(!decisions.stdout.contains("4111 1111") && !decisions.stdout.contains("-secret"), "{}", decisions.stdout);
    ensure!(decisions.stdout.contains("payment_card"), "{}", decisions.stdout);
    Ok(())
}
