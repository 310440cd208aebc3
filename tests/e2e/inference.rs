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

#[tokio::test(flavor = "multi_thread")]
async fn a_public_model_sees_placeholders_and_the_caller_its_values() -> Result<()> {
    let stage = Stage::new().await?;
    let (cloud, home) = (model("cloud").await?, model("home").await?);
    for (name, origin, rest) in [
        ("cloud", &cloud, &["--locality", "public", "--clearance", "public", "--redact", "--input-price", "1"][..]),
        ("home", &home, &["--locality", "host", "--clearance", "restricted", "--input-price", "9"]),
    ] {
        let url = format!("http://127.0.0.1:{}/v1", origin.address.port());
        let add = ["inference", "backend", "add", name, "--url", &url, "--kind", "compatible", "--model", "echo"];
        stage.run(&[&add[..], rest].concat()).await?.ok()?;
    }
    let told = "Mail ann.lee@example.org, card 4111 1111 1111 1111; password: Tr0ub4dor+3x!";
    let rows = [
        (ask("a", false, told), told),
        (ask("a", false, told), "x-openshell-served-by: cloud"),
        (ask("a", true, told), "data: [DONE]"),
        // Nothing that keeps the session at home was shown to anybody.
        (ask("a", false, "Thanks."), "x-openshell-route: public;"),
        // In another API, streamed.
        (ask_anthropic(true, told), "event: message_stop"),
        (ask_anthropic(false, told), told),
    ];
    for (script, expected) in &rows {
        stage.check(&[(script.as_str(), *expected)]).await?;
    }
    let streamed = stage.inside(&ask("a", true, told)).await?.ok()?.stdout;
    let text: String = streamed
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line.strip_prefix("data: ")?).ok())
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    ensure!(text == told, "{text:?} in {streamed}");
    let seen = cloud.seen();
    ensure!(seen.len() == rows.len() + 1 && home.seen().is_empty(), "{} and {}", seen.len(), home.seen().len());
    for request in seen.iter().filter(|request| !request.body.contains("Thanks.")) {
        let leaked = ["4111 1111", "ann.lee", "Tr0ub4dor"].iter().find(|value| request.body.contains(**value));
        ensure!(leaked.is_none(), "{leaked:?} got out: {}", request.body);
        let named = ["PAYMENT_CARD_", "EMAIL_", "PASSWORD_"].iter().all(|kind| request.body.contains(kind));
        ensure!(named, "{}", request.body);
    }
    // The sandbox's own router says so beforehand.
    let body = format!(r#"{{"model":"small","messages":[{{"role":"user","content":"{told}"}}]}}"#);
    let request = stage.world.write("request.json", &body)?;
    let explain = ["inference", "explain", "--sandbox", "demo", "-o", "json", "-f", &request.to_string_lossy()];
    let explained: serde_json::Value = serde_json::from_str(&stage.run(&explain).await?.ok()?.stdout)?;
    let first = &explained["backends"][0];
    ensure!(first["name"] == "cloud" && first["redacted"] == true, "{explained}");
    let decisions = stage.run(&["decisions", "--sandbox", "demo", "-o", "json"]).await?.ok()?.stdout;
    ensure!(decisions.contains("\"redacted\"") && !decisions.contains("4111 1111"), "{decisions}");
    Ok(())
}

/// The process id of the supervisor of this world's only sandbox.
fn supervisor(stage: &Stage) -> Result<String> {
    let root = stage.world.root().to_string_lossy().into_owned();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let program = command.split('\0').next().unwrap_or_default();
        // Its children are of the same program, in a session of their own.
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1).map(str::to_owned));
        let parent =
            std::fs::read_to_string(format!("/proc/{}/cmdline", parent.unwrap_or_default())).unwrap_or_default();
        if program.ends_with("openshell-supervisor")
            && command.contains(&root)
            && !parent.contains("openshell-supervisor")
        {
            return Ok(entry.file_name().to_string_lossy().into_owned());
        }
    }
    anyhow::bail!("no supervisor of {root} runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_supervisor_undercounts_no_budget() -> Result<()> {
    let stage = Stage::new().await?;
    // Accepts, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/v1", silent.local_addr()?);
    let add =
        ["inference", "backend", "add", "silent", "--url", &url, "--locality", "host", "--clearance", "restricted"];
    stage.run(&[&add[..], &["--input-price", "1", "--output-price", "1000"]].concat()).await?.ok()?;
    stage.run(&["inference", "rules", "demo", "--budget", "total=1.5"]).await?.ok()?;
    // A thousand output tokens at a thousand dollars a million: a dollar is set aside.
    let asking = "curl -sS -o answer https://inference.local/v1/chat/completions -H 'Content-Type: application/json' \
                  -d '{\"model\":\"m\",\"max_tokens\":1000,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}'";
    stage.inside(&format!("({asking}) </dev/null >/dev/null 2>&1 &")).await?.ok()?;
    let (held, _) = tokio::time::timeout(std::time::Duration::from_secs(30), silent.accept()).await??;
    let pid = supervisor(&stage)?;
    ensure!(std::process::Command::new("kill").args(["-9", &pid]).status()?.success());
    drop(held);
    let mut started = stage.run(&["sandbox", "start", "demo"]).await?;
    for _ in 0..100 {
        if started.code == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        started = stage.run(&["sandbox", "start", "demo"]).await?;
    }
    started.ok()?;
    let again = asking.replace("-o answer", "-i");
    stage.check(&[(&again, "402"), (&again, "budget_exhausted")]).await?;
    let mut usage = String::new();
    for _ in 0..100 {
        usage = stage.run(&["inference", "usage", "--by", "backend", "-o", "json"]).await?.ok()?.stdout;
        if usage.contains("silent") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let lines: serde_json::Value = serde_json::from_str(&usage)?;
    ensure!(lines[0]["requests"] == 1 && lines[0]["cost"].as_u64() > Some(1_000_000_000_000), "{usage}");
    Ok(())
}
