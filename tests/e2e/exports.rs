//! Decisions of a live sandbox, sent to a collector that reads them by other people's definitions.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use openshell_tests::servers::python;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::{READ_ONLY, Stage};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

#[tokio::test(flavor = "multi_thread")]
async fn decisions_reach_collectors_and_traces_go_on_upstream() -> Result<()> {
    let stage = Stage::new().await?;
    let log = stage.world.path("collected");
    let mut collector = Command::new(python()?);
    collector.arg(stage.world.write("collector.py", include_str!("collector.py"))?).arg(&log).stdout(Stdio::piped());
    let mut collector = tokio::process::Command::from(collector).kill_on_drop(true).spawn()?;
    let mut said = BufReader::new(collector.stdout.take().context("its output")?).lines();
    let url = format!("http://127.0.0.1:{}", said.next_line().await?.context("its port")?);
    for (name, format, path) in [
        ("lines", "json-lines", "/lines"),
        ("events", "ocsf", "/ocsf"),
        ("logs", "otlp-logs", ""),
        ("spans", "otlp-traces", ""),
    ] {
        stage.run(&["export", "add", name, &format!("{url}{path}"), "--format", format]).await?.ok()?;
    }
    stage.rules(READ_ONLY).await?.ok()?;
    stage
        .check(&[
            (
                &format!(
                    "curl -sS -o /dev/null -w '%{{http_code}}' -H 'traceparent: 00-{TRACE}-{CALLER}-01' $API/traced"
                ),
                "200",
            ),
            (&format!("curl -sS -X POST -d x -H 'traceparent: 00-{TRACE}-{CALLER}-01' $API/refused"), "policy_denied"),
            ("curl -sS -o /dev/null -w '%{http_code}' $API/alone", "200"),
        ])
        .await?;
    // The upstream is below the proxy's span; what belonged to no trace belongs to none there.
    let seen = stage.origin.seen();
    let header =
        |path: &str| seen.iter().find(|seen| seen.target == path).map(|seen| seen.headers.get("traceparent").cloned());
    let passed = header("/traced").flatten().context("the request arrived without its trace")?;
    let span = passed.strip_prefix(&format!("00-{TRACE}-")).and_then(|rest| rest.strip_suffix("-01"));
    let span = span.with_context(|| format!("another trace: {passed}"))?.to_owned();
    ensure!(span != CALLER && header("/alone") == Some(None), "{seen:?}");

    // Everything that was decided is with every collector, though each refused the first message.
    let mut states = Value::Null;
    for _ in 0..150 {
        states = stage.run(&["export", "list", "-o", "json"]).await?.ok()?.json()?;
        let all = states.as_array().context("a list")?;
        if all.iter().all(|state| state["waiting"] == 0 && state["delivered"].as_u64() > Some(0)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let text = std::fs::read_to_string(&log)?;
    let collected: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(!text.contains("\"wrong\""), "{text}");
    ensure!(states.as_array().is_some_and(|all| all.iter().all(|state| state["waiting"] == 0)), "{states}");
    let of =
        |path: &str| collected.iter().filter(|one| one["path"] == path).map(|one| &one["item"]).collect::<Vec<_>>();
    let decided = stage.run(&["decisions", "-o", "json"]).await?.ok()?.json()?;
    let decided = decided.as_array().context("a list")?;
    let ids = |items: Vec<&Value>, key: &str| {
        let mut ids: Vec<String> = items.iter().map(|item| item[key].to_string()).collect();
        ids.sort();
        ids
    };
    let expected = ids(decided.iter().collect(), "id");
    ensure!(expected.len() >= 6, "{decided:?}");
    ensure!(ids(of("/lines"), "id") == expected && ids(of("/ocsf"), "id") == expected, "{text}");
    ensure!(ids(of("/v1/logs"), "openshell.decision.id") == expected, "{text}");
    ensure!(of("/ocsf").iter().any(|event| event["class"] == 4002 && event["action"] == 2), "{text}");

    let spans = of("/v1/traces");
    let traced: Vec<&&Value> = spans.iter().filter(|one| one["trace"] == TRACE && one["parent"] == CALLER).collect();
    let about =
        |method: &str| traced.iter().find(|one| one["name"] == method).with_context(|| format!("{method}: {spans:?}"));
    ensure!(about("GET")?["span"] == json!(span) && about("GET")?["http.response.status_code"] == 200, "{spans:?}");
    ensure!(about("POST")?["error.type"] == "policy_denied", "{spans:?}");
    let inner = spans.iter().find(|one| one["parent"] == json!(span)).context("the policies' part")?;
    ensure!(inner["name"] == "policy decision", "{inner}");
    collector.kill().await?;
    stage.run(&["export", "remove", "lines", "events", "logs", "spans"]).await?.ok()?;
    let shown = stage.run(&["export", "list"]).await?.ok()?;
    ensure!(shown.stdout.contains("sent nowhere") || shown.stderr.contains("sent nowhere"), "{shown:?}");
    let refused = stage.run(&["export", "add", "far", "http://collector.example/in"]).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("travel encrypted"), "{refused:?}");
    Ok(())
}
