//! The gateways that a user knows: added, listed, chosen, asked, forgotten.

mod common;

#[path = "common/gateway.rs"]
mod gateway;

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Home, Ran};
use gateway::{Gateway, TOKEN};
use serde_json::Value;

/// A home without a gateway of its own, and one somewhere else.
struct World {
    home: Home,
    gateway: Gateway,
}

impl World {
    fn new() -> Self {
        let home = Home::new();
        let gateway = Gateway::start(&home.path().join("far"));
        std::fs::write(home.path().join("token"), format!("{TOKEN}\n")).expect("written");
        Self { home, gateway }
    }

    fn run(&self, words: &[&str]) -> Ran {
        self.gateway.without_port(self.home.run(words))
    }

    /// `gateway add NAME URL …`, trusting the gateway's certificate.
    fn add(&self, name: &str, more: &[&str]) -> Ran {
        self.run(&[&["gateway", "add", name, &self.gateway.url, "--ca", "far/ca.pem"], more].concat())
    }

    fn file(&self, below: &str) -> PathBuf {
        self.home.path().join("config/openshell").join(below)
    }

    fn list(&self) -> Vec<Value> {
        let ran = self.run(&["gateway", "list", "-o", "json"]);
        assert_eq!(ran.code, 0, "{}", ran.whole());
        serde_json::from_str(&ran.stdout).expect("JSON")
    }

    /// The names in the list, the selected one with a star.
    fn names(&self) -> Vec<String> {
        let star = |one: &Value| if one["selected"] == true { "*" } else { "" };
        self.list().iter().map(|one| format!("{}{}", one["name"].as_str().expect("a name"), star(one))).collect()
    }
}

fn ok(ran: Ran) -> Ran {
    assert_eq!(ran.code, 0, "{}", ran.whole());
    ran
}

fn refused(ran: Ran, fact: &str) {
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.whole());
    assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(fact), "no {fact:?} in {}", ran.stderr);
    assert!(ran.stderr.contains("\nhint: "), "{}", ran.stderr);
}

#[test]
fn one_is_added_used_and_forgotten() {
    let world = World::new();
    let added = ok(world.add("team", &["--token-file", "token"]));
    assert!(added.stdout.contains("team") && added.stderr.contains("as alice (admin)"), "{}", added.whole());
    assert!(!added.whole().contains(TOKEN), "{}", added.whole());
    assert_eq!(world.gateway.bodies("GET /v1/whoami").len(), 1, "the token was tried before it was kept");

    // For its owner alone, and the secret apart from the rest.
    for (file, secret) in [("gateway.json", false), ("token", true)] {
        let path = world.file("gateways/team").join(file);
        assert_eq!(path.metadata().expect("it is there").permissions().mode() & 0o777, 0o600, "{file}");
        assert_eq!(std::fs::read_to_string(path).expect("text").contains(TOKEN), secret, "{file}");
    }
    assert_eq!(world.file("gateways").metadata().expect("it is there").permissions().mode() & 0o777, 0o700);

    // Commands mean it now; a name, the URL and the variable reach it too.
    assert_eq!(world.names(), ["local", "team*"]);
    assert!(ok(world.run(&["sandbox", "list"])).stdout.contains("demo"));
    ok(world.run(&["gateway", "select", "local"]));
    assert_eq!(world.names(), ["local*", "team"]);
    refused(world.run(&["sandbox", "list"]), "no gateway is running");
    let url = world.gateway.url.clone();
    for words in [&["sandbox", "list", "--gateway", "team"][..], &["sandbox", "list", "-g", &url]] {
        assert!(ok(world.run(words)).stdout.contains("demo"), "{words:?}");
    }
    let mut command = world.home.command(&["sandbox", "exec", "demo", "--env", "MODE=x", "--", "talk", "hi"]);
    let ran = world.home.finish(command.env("OPENSHELL_GATEWAY", "team").output().expect("it runs"));
    assert_eq!((ran.code, ran.stdout.as_str()), (3, "hi x\n"), "{}", ran.whole());
    assert!(ok(world.run(&["gateway", "status", "team"])).stdout.contains("alice (admin, by token)"));

    ok(world.run(&["gateway", "select", "team"]));
    ok(world.run(&["gateway", "remove", "team"]));
    assert_eq!(world.names(), ["local*"]);
    assert_eq!(std::fs::read_dir(world.file("gateways")).expect("it is there").count(), 0);
}

#[test]
fn tokens_come_by_no_way_that_others_see() {
    let world = World::new();
    let mut words = vec!["gateway", "add", "piped", &world.gateway.url, "--ca", "far/ca.pem", "--token-file", "-"];
    let mut child = world.home.command(&words).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    child.stdin.take().expect("a pipe").write_all(TOKEN.as_bytes()).expect("written");
    assert!(child.wait().expect("it ends").success());
    words.splice(2..3, ["named"]);
    words.splice(6.., ["--token-env", "THE_TOKEN"]);
    let ran = world.home.finish(world.home.command(&words).env("THE_TOKEN", TOKEN).output().expect("it runs"));
    assert_eq!(ran.code, 0, "{}", ran.whole());
    let ran = world.run(&["gateway", "add", "argued", "https://gateway.test", "--token", TOKEN]);
    assert_eq!(ran.code, 2, "{}", ran.whole());
    assert_eq!(world.names(), ["local", "named*", "piped"]);
}

#[test]
fn nothing_is_kept_of_what_is_no_gateway_of_ours() {
    let world = World::new();
    std::fs::write(world.home.path().join("wrong"), "another-token\n").expect("written");
    std::fs::write(world.home.path().join("two-lines"), "a\nb\n").expect("written");
    let url = &world.gateway.url;
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let nobody = format!("https://{nobody}");
    for (words, fact) in [
        (&["bad", url, "--ca", "far/ca.pem", "--token-file", "wrong"][..], "no valid bearer token"),
        (&["bad", url, "--ca", "far/ca.pem", "--token-file", "two-lines"], "control character"),
        (&["bad", url, "--ca", "far/ca.pem", "--token-file", "nowhere"], "can't read nowhere"),
        (&["bad", url, "--ca", "token", "--token-file", "token"], "no certificate authority"),
        (&["bad", url, "--token-file", "token"], "is not trusted"),
        (&["bad", &nobody, "--token-file", "token"], "does not answer"),
        (&["bad", "http://gateway.test"], "a token goes over https:// alone"),
        (&["bad", "https://me:secret@gateway.test"], "it holds a user or a password"),
        (&["bad", "https://gateway.test/?x=y"], "more than a host"),
        (&["Bad Name", url], "can't be the policy's name"),
        (&["local", url, "--ca", "far/ca.pem", "--token-file", "token"], "there is a gateway named local already"),
        (&[url, "--ca", "far/ca.pem"], "no name can be made of"),
        (&["bad", "./nowhere"], "no gateway is running"),
        (&["bad", "gateway.test"], "begins with https://"),
        (&["bad", "--remote=-oProxyCommand=true"], "can't be reached by ssh"),
        (&["--remote", "me@127.0.0.1"], "no name can be made of"),
    ] {
        refused(world.run(&[&["gateway", "add"], words].concat()), fact);
    }
    assert_eq!(world.names(), ["local*"]);
    refused(world.run(&["gateway", "select", "bad"]), "there is no gateway named bad");
    refused(world.run(&["gateway", "remove", "bad"]), "there is no gateway named bad");
    refused(world.run(&["gateway", "remove", "local"]), "--purge removes it");
    refused(world.run(&["gateway", "remove", "local", "--purge"]), "no terminal");
    refused(world.run(&["status", "-g", "bad"]), "there is no gateway named bad");
    // A directory that lies here by chance is never meant by its name.
    refused(world.run(&["status", "-g", "far"]), "there is no gateway named far");
    ok(world.run(&["status", "-g", "./far"]));
    ok(world.add("team", &["--token-file", "token"]));
    refused(world.add("team", &["--token-file", "token"]), "there is a gateway named team already");
    refused(world.run(&["status", "-g", "bad"]), "there are: local, team");
    refused(world.run(&["gateway", "remove", "team", "--purge", "--yes"]), "only whoever runs it");
    refused(world.run(&["gateway", "upgrade", "team"]), "only whoever runs it");
    refused(world.run(&["gateway", "stop", "-g", "team"]), "was not started by this state directory");
}

#[test]
fn one_that_fails_hides_no_other() {
    let world = World::new();
    for name in ["good", "dead", "silent", "damaged", "exposed", "out"] {
        ok(world.add(name, &["--token-file", "token"]));
    }
    // Listens, takes connections, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let rewrite = |name: &str, url: String| {
        let path = world.file("gateways").join(name).join("gateway.json");
        let text = std::fs::read_to_string(&path).expect("text").replace(&world.gateway.url, &url);
        std::fs::write(path, text).expect("written");
    };
    rewrite("silent", format!("https://{}", silent.local_addr().expect("an address")));
    rewrite("dead", "https://127.0.0.1:1".to_owned());
    std::fs::write(world.file("gateways/damaged/gateway.json"), "{").expect("written");
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(world.file("gateways/exposed/token"), mode).expect("set");
    ok(world.run(&["gateway", "logout", "out"]));

    let began = Instant::now();
    let found: Vec<(String, String, String)> = world
        .list()
        .iter()
        .map(|one| {
            let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
            (text("name"), text("state"), text("error"))
        })
        .collect();
    assert!(began.elapsed() < Duration::from_secs(15), "one after the other: {:?}", began.elapsed());
    let expected = [
        ("local", "stopped", "no gateway is running"),
        ("damaged", "fails", "is damaged"),
        ("dead", "fails", "does not answer"),
        ("exposed", "fails", "is not for its owner alone"),
        ("good", "answers", ""),
        ("out", "logged_out", "you are not logged in"),
        ("silent", "fails", "nothing came within 4 s"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((name, state, error), expected) in found.iter().zip(expected) {
        assert!((name.as_str(), state.as_str()) == (expected.0, expected.1), "{name}: {state} {error}");
        assert!(error.contains(expected.2), "{name}: {error}");
    }
    let shown = ok(world.run(&["gateway", "list"])).stdout;
    assert!(
        shown.contains("good") && shown.contains("alice (admin)") && shown.contains("gateway login out"),
        "{shown}"
    );

    // The overview is of one, and shows the others all the same.
    ok(world.run(&["gateway", "select", "good"]));
    let status = ok(world.run(&["status", "-o", "json"]));
    let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    assert_eq!(
        (&status["sandboxes"][0]["name"], status["gateways"].as_array().map(Vec::len)),
        (&"demo".into(), Some(7))
    );
    let failing = world.run(&["status", "-g", "dead"]);
    assert!(failing.code == 1 && failing.stdout.contains("good") && failing.stderr.contains("does not answer"));
    drop(silent);
}

#[test]
fn writers_at_once_lose_nothing() {
    let world = World::new();
    let start = |name: &str| {
        let words = ["gateway", "add", name, &world.gateway.url, "--ca", "far/ca.pem", "--token-file", "token"];
        world.home.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs")
    };
    let names: Vec<String> = (0..6).map(|n| format!("g{n}")).collect();
    let mut all: Vec<_> = names.iter().map(|name| start(name)).collect();
    let mut same: Vec<_> = (0..4).map(|_| start("same")).collect();
    for child in &mut all {
        assert!(child.wait().expect("it ends").success());
    }
    let won = same.iter_mut().filter_map(|child| child.wait().ok()).filter(std::process::ExitStatus::success).count();
    assert_eq!(won, 1, "one name, one gateway");
    let found: Vec<String> = world.names().iter().map(|name| name.trim_end_matches('*').to_owned()).collect();
    assert_eq!(found, ["local", "g0", "g1", "g2", "g3", "g4", "g5", "same"]);
}

#[test]
fn logging_in_and_out_with_a_token() {
    let world = World::new();
    ok(world.add("team", &["--no-login"]));
    refused(world.run(&["sandbox", "list"]), "you are not logged in to gateway team");
    refused(world.run(&["gateway", "login"]), "takes tokens alone");
    std::fs::write(world.home.path().join("wrong"), "another-token\n").expect("written");
    refused(world.run(&["gateway", "login", "--token-file", "wrong"]), "no valid bearer token");
    refused(world.run(&["sandbox", "list"]), "you are not logged in to gateway team");
    let ran = ok(world.run(&["gateway", "login", "--token-file", "token"]));
    assert!(ran.stderr.contains("logged in to gateway team as alice (admin)"), "{}", ran.stderr);
    ok(world.run(&["sandbox", "list"]));
    ok(world.run(&["gateway", "logout"]));
    refused(world.run(&["sandbox", "list"]), "you are not logged in to gateway team");
    let again = ok(world.run(&["gateway", "logout"]));
    assert!(again.stderr.contains("you were not logged in"), "{}", again.stderr);
    refused(world.run(&["gateway", "login", "local"]), "its user's without a login");
}
