//! `openshell inference explain`, without a gateway: the built-in router in the real engine, and a catalogue from a file.

mod common;

use std::io::Write as _;
use std::process::Stdio;

use common::{Home, Ran};
use serde_json::Value;

const CATALOGUE: &str = r#"[
  {"name":"cheap","kind":"openai","base_url":"https://api.test/v1","locality":"public","clearance":"public",
   "input_price":150000,"output_price":600000,"features":["tools"]},
  {"name":"home","kind":"openai","base_url":"http://127.0.0.1:1/v1","model":"qwen","locality":"host","clearance":"restricted",
   "input_price":900000,"output_price":900000},
  {"name":"claude","kind":"anthropic","base_url":"https://claude.test/v1","locality":"public","clearance":"internal",
   "input_price":3000000,"output_price":15000000}
]"#;
const CARD: &str = "4111 1111 1111 1111";

fn home() -> Home {
    let home = Home::new();
    std::fs::write(home.path().join("backends.json"), CATALOGUE).expect("written");
    home
}

fn run(home: &Home, arguments: &[&str], input: &str) -> Ran {
    let mut command = home.command(&["inference", "explain", "--catalogue", "backends.json", "-o", "json"]);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    // It may end before it reads anything.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    home.finish(child.wait_with_output().expect("it ends"))
}

#[test]
fn says_what_is_found_where_and_who_may_serve_it() {
    let home = home();
    let asked = format!(
        r#"{{"model":"m","max_tokens":100,"messages":[{{"role":"system","content":"Be brief."}},
           {{"role":"user","content":"Is {CARD} valid?"}}]}}"#
    );
    std::fs::write(home.path().join("request.json"), &asked).expect("written");
    let ran = run(&home, &["-f", "request.json"], "");
    assert_eq!(ran.code, 0, "{}", ran.whole());
    assert!(!ran.whole().contains("4111"), "values are never shown: {}", ran.whole());
    let said: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!((&said["sensitivity"], &said["endpoint"]), (&"restricted".into(), &"chat/completions".into()));
    let found = &said["findings"][0];
    assert_eq!(
        (&found["kind"], &found["place"], &found["role"]),
        (&"payment_card".into(), &"messages[1]".into(), &"user".into())
    );
    assert_eq!((&found["start"], &found["length"]), (&3.into(), &CARD.len().into()));
    assert_eq!(said["backends"].as_array().map(Vec::len), Some(1), "{said}");
    assert_eq!((&said["backends"][0]["name"], &said["backends"][0]["model"]), (&"home".into(), &"qwen".into()));
    let passed: Vec<String> = said["passed_over"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|p| format!("{}: {}", p["name"], p["why"]))
        .collect();
    assert_eq!(passed, ["\"cheap\": \"cleared for public only\"", "\"claude\": \"cleared for internal only\""]);
}

#[test]
fn a_batch_is_judged_line_by_line() {
    let home = home();
    let lines = [
        r#"{"model":"m","messages":[{"role":"user","content":"Capital of France?"}],"max_tokens":1000}"#.to_owned(),
        String::new(),
        r#"{"custom_id":"a","method":"POST","url":"/v1/messages","body":{"model":"m","max_tokens":9,"system":"key AKIAIOSFODNN7EXAMPLE","messages":[]}}"#.to_owned(),
        r#"{"url":"https://x.test/v1/chat/completions","headers":{"X-OpenShell-Sensitivity":"internal"},"body":{"model":"m","messages":[]}}"#.to_owned(),
        "{\"model\":".to_owned(),
        r#"{"model":"m","model":"n"}"#.to_owned(),
        r#"{"url":"/v1/files","body":{"model":"m"}}"#.to_owned(),
        format!(r#"{{"model":"embed-3","input":["{CARD}"]}}"#),
    ];
    let ran = run(&home, &["--jsonl", "-"], &lines.join("\n"));
    assert_eq!(ran.code, 1, "{}", ran.whole());
    let said: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let short: Vec<String> = said
        .iter()
        .map(|s| match s["error"].as_str() {
            Some(error) => format!("{} refused: {error}", s["line"]),
            None => {
                let first = &s["backends"][0];
                let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
                format!(
                    "{} {} {} {}",
                    s["line"],
                    text(&s["sensitivity"]),
                    text(&first["name"]),
                    text(&first["expected_cost"])
                )
            }
        })
        .collect();
    let costs = |line: &str| line.rsplit(' ').next().is_some_and(|c| c.starts_with("0.000") && c.len() > 5);
    assert!(short[0].starts_with("1 public cheap ") && costs(&short[0]), "{short:?}");
    assert!(short[1].starts_with("3 restricted home "), "{short:?}");
    assert!(short[2].starts_with("4 internal home "), "{short:?}");
    assert_eq!(short[3], "5 refused: the body is not valid JSON (line 1, column 9)");
    assert_eq!(short[4], "6 refused: an object in the body holds the same key twice (line 1, column 20)");
    assert_eq!(short[5], "7 refused: its path is no inference endpoint that takes a body");
    assert!(short[6].starts_with("8 restricted home "), "{short:?}");
    assert!(ran.stderr.contains("3 of 8 lines are no requests"), "{}", ran.stderr);
    assert!(!ran.whole().contains("4111") && !ran.whole().contains("AKIA"), "{}", ran.whole());
}

#[test]
fn what_can_not_be_explained_says_why() {
    let home = home();
    for (arguments, input, expected) in [
        (&["-f", "nowhere.json"][..], "", "error: can't read nowhere.json"),
        (&["--catalogue", "request.txt"], "", "error: can't read request.txt"),
        (
            &["-f", "-"],
            "[1]",
            "error: what standard input holds is no inference request: the body is not a JSON object",
        ),
        (
            &["--settings", r#"{"floor":"secret"}"#],
            "{}",
            "error: router privacy-router can't be asked: settings at /floor",
        ),
    ] {
        let ran = if arguments[0] == "--catalogue" {
            home.run(&["inference", "explain", "--catalogue", "request.txt"])
        } else {
            run(&home, arguments, input)
        };
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{arguments:?}: {}", ran.whole());
        assert!(ran.stderr.contains(expected) && ran.stderr.contains("\nhint: "), "{arguments:?}: {}", ran.stderr);
    }
}
