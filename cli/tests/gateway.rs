//! Commands that talk to a gateway: what is sent, what is shown, how they end.

mod common;

#[path = "common/gateway.rs"]
mod gateway;

use std::io::{BufRead as _, Write as _};
use std::process::Stdio;

use common::{Home, Ran};
use gateway::Gateway;
use serde_json::json;

struct World {
    home: Home,
    gateway: Gateway,
}

impl World {
    fn new() -> Self {
        let home = Home::new();
        let gateway = Gateway::start(&home.path().join("state/openshell/gateway"));
        Self { home, gateway }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.gateway.without_port(self.home.run(arguments))
    }

    fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut command = self.home.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        child.stdin.take().expect("a pipe").write_all(input).expect("written");
        self.home.finish(child.wait_with_output().expect("it ends"))
    }
}

#[test]
fn what_is_shown() {
    let world = World::new();
    std::fs::write(world.home.path().join("rules.yaml"), "version: 1\n").expect("written");
    for (name, words) in [
        ("status", "status"),
        ("sandbox-list", "sandbox list"),
        ("sandbox-list-json", "sandbox list -q --output json"),
        ("sandbox-get", "sandbox get once"),
        ("sandbox-delete", "sandbox delete demo once"),
        ("logs", "sandbox logs demo"),
        ("policy-list", "policy list demo"),
        ("policy-get", "policy get demo"),
        ("policy-history", "policy history demo"),
        ("policy-history-yaml", "policy history demo -o yaml"),
        ("policy-rollback", "policy rollback demo --to 1"),
        ("policy-set", "policy set demo --policy rules.yaml"),
        ("decisions", "decisions"),
        ("decisions-reasons", "decisions --reasons"),
        ("decisions-follow", "decisions --follow"),
        ("decisions-follow-json", "decisions --follow -o json"),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let ran = world.run(&words);
        assert_eq!(ran.code, 0, "{words:?}: {}", ran.whole());
        // What changes with the clock is shown by other tests.
        if !ran.stdout.contains("created_at") {
            insta::assert_snapshot!(format!("shown-{name}"), ran.whole());
        } else if words.contains(&"json") {
            serde_json::from_str::<serde_json::Value>(&ran.stdout).expect("stdout is JSON and nothing else");
        }
    }
}

#[test]
fn what_is_refused() {
    let world = World::new();
    for (name, words) in [
        ("sandbox-gone", "sandbox get gone"),
        ("exec-sandbox-gone", "sandbox exec gone -- true"),
        ("exec-missing-program", "sandbox exec demo -- missing"),
        ("exec-cut", "sandbox exec demo -- cut"),
        ("exec-tty-without-terminal", "sandbox exec demo --tty -- talk"),
        ("provider-gone", "provider delete x"),
        ("provider-variable-unset", "provider create a --type openai --from-env SURELY_NOT_SET_ANYWHERE"),
        ("provider-empty-secret", "provider create a --type openai"),
        ("rules-missing", "policy set demo --policy nowhere.yaml"),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let ran = world.run(&words);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{words:?}: {}", ran.whole());
        // Whether bytes were left unread when the gateway went decides which of the two the kernel says.
        let whole = ran.whole().replace("Connection reset by peer (os error 104)", "it ended early");
        insta::assert_snapshot!(format!("refused-{name}"), whole);
    }
}

#[test]
fn a_wall_that_does_not_hold_fails_after_every_check_is_shown() {
    let ran = World::new().run(&["sandbox", "verify", "demo"]);
    assert_eq!(ran.code, 1, "{}", ran.whole());
    insta::assert_snapshot!("verify-not-proven", ran.whole());
}

#[test]
fn commands_stream_and_pass_on_their_exit_code() {
    let world = World::new();
    let ran = world.run(&["sandbox", "exec", "demo", "--env", "MODE=fast", "--", "talk", "a", "b"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (3, "a b fast\n", "to stderr\n"));

    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let mut command = world.home.command(&["sandbox", "exec", "demo", "--", "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut input = child.stdin.take().expect("a pipe");
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || input.write_all(&sent));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("joined").expect("written");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == bytes, "{} bytes came back of {}", output.stdout.len(), bytes.len());
}

#[test]
fn a_signal_goes_to_the_command() {
    let world = World::new();
    let mut command = world.home.command(&["sandbox", "exec", "demo", "--", "signalled"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("read");
    assert_eq!(line, "ready\n");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signalled");
    assert_eq!(child.wait().expect("it ends").code(), Some(128 + 15));
}

#[test]
fn following_shows_lines_as_they_come() {
    let world = World::new();
    let mut command = world.home.command(&["sandbox", "logs", "demo", "--follow"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
    let lines = std::io::BufReader::new(child.stdout.as_mut().expect("a pipe")).lines();
    let lines: Vec<String> = lines.take(3).map(|line| line.expect("text")).collect();
    assert_eq!(lines, ["[12:00:00 supervisor] walls are up", "hello", "careful"]);
    child.kill().expect("ended");
    child.wait().expect("ended");
}

const MISSING: &str = "warning: 3 lines were dropped here: the gateway keeps the last 50,000 lines of a sandbox\n";

#[test]
fn what_a_log_lacks_is_told_in_its_place_and_beside_it() {
    let world = World::new();
    let ran = world.run(&["sandbox", "logs", "once"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, MISSING));
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[1].starts_with("[12:00:00 gateway] 3 lines were dropped here: "), "{lines:?}");
    let ran = world.run(&["sandbox", "logs", "once", "-o", "json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, MISSING));
    let lines: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(lines[1]["lost"], 3, "{lines}");
}

#[test]
fn created_sandboxes_are_as_typed() {
    // The gateway's process is this test's: `create` must take it as given and not start another.
    let world = World::new();
    let remote = |words: &[&str]| {
        let mut command = world.home.command(words);
        command.env("OPENSHELL_GATEWAY", &world.gateway.url).env("OPENSHELL_TOKEN", gateway::TOKEN);
        command.env("OPENSHELL_CA_FILE", world.home.path().join("state/openshell/gateway/ca.pem"));
        world.home.finish(command.output().expect("it runs"))
    };
    let ran = remote(&[
        "sandbox",
        "create",
        "--name",
        "demo",
        "--env",
        "A=b=c",
        "--label",
        "team=red",
        "--workdir",
        "/w",
        "--add-host",
        "Api.Test:127.0.0.1",
        "--provider",
        "github",
        "--allow-degraded",
        "--detach",
        "-o",
        "json",
        "--",
        "run",
        "--it",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.whole());
    assert_eq!(serde_json::from_str::<serde_json::Value>(&ran.stdout).expect("JSON")["name"], "demo");
    assert_eq!(
        world.gateway.bodies("POST /v1/sandboxes"),
        [json!({
            "name": "demo", "command": ["run", "--it"], "env": { "A": "b=c" }, "workdir": "/w",
            "labels": { "team": "red" }, "add_hosts": { "api.test": "127.0.0.1" }, "providers": ["github"],
            "policies": [], "allow_degraded": true, "runtime": null,
        })]
    );

    // Attended: the workload's lines, what is missing of them, and its exit code.
    let ran = remote(&["sandbox", "create", "-q", "--name", "once", "--", "run"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (7, "hello\n"));
    assert_eq!(ran.stderr, format!("{MISSING}careful\n"));
    let ran = remote(&["sandbox", "create", "-q", "--name", "broken", "--", "run"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("error: sandbox broken failed to start: no such program"), "{}", ran.stderr);
}

#[test]
fn rules_are_bound_in_place_of_everything_else() {
    let world = World::new();
    let ran = world.run_with_input(&["policy", "set", "demo", "--policy", "-"], b"version: 1\n");
    assert_eq!(ran.code, 0, "{}", ran.whole());
    assert_eq!(
        world.gateway.bodies("POST /v1/pushes"),
        [json!({
            "sandboxes": ["demo"], "module": "sha256:aa", "binding": null, "settings": { "yaml": "version: 1\n" },
            "replace_all": true, "shadow": false, "reuse": 0, "deadline_ms": null,
        })]
    );
}

#[test]
fn secrets_come_from_input_and_are_never_shown() {
    let world = World::new();
    let ran = world.run_with_input(&["provider", "create", "openai", "--type", "openai"], b"sk-very-secret\n");
    assert_eq!(ran.code, 0, "{}", ran.whole());
    assert!(!ran.whole().contains("very-secret"), "{}", ran.whole());
    assert_eq!(
        world.gateway.bodies("POST /v1/providers"),
        [json!({ "name": "openai", "type": "openai", "attach": null, "hosts": null, "secret": "sk-very-secret" })]
    );
}

#[test]
fn only_the_gateways_own_ca_and_token_are_good() {
    let world = World::new();
    let state = world.home.path().join("elsewhere");
    let gateway_dir = world.home.path().join("state/openshell/gateway");
    let ca = std::fs::read_to_string(gateway_dir.join("ca.pem")).expect("read");

    gateway::write_endpoint(&state, &world.gateway.url, &ca, "another token");
    let ran = world.run(&["status", "--gateway", "./elsewhere"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.starts_with("error: the request carries no valid bearer token\nhint: "), "{}", ran.stderr);

    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    gateway::write_endpoint(&state, &world.gateway.url, &other.cert.pem(), gateway::TOKEN);
    for words in [&["status", "-g", "./elsewhere"][..], &["sandbox", "exec", "demo", "-g", "./elsewhere", "--", "true"]]
    {
        let ran = world.run(words);
        assert_eq!(ran.code, 1);
        let expected = "error: the certificate of https://gateway.test is not trusted";
        assert!(ran.stderr.starts_with(expected), "{words:?}: {}", ran.stderr);
    }
}
