use std::collections::BTreeMap;

use bollard::models::{Node as FoundNode, Task as FoundTask};
use openshell_api::launch::LaunchSpec;
use openshell_api::sandbox::{CreateSandbox, Volume};
use serde_json::{Value, json};

use super::nodes::{self, Node};
use super::service::{self, Plan};
use super::watch::{Stage, newest};
use super::{Repository, Start};

fn labels(text: &str) -> BTreeMap<String, String> {
    text.split(' ').filter_map(|pair| pair.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
}

/// `name state availability release cores GiB labels…`, as the API tells it.
fn node(words: &str) -> Node {
    let parts: Vec<&str> = words.splitn(7, ' ').collect();
    let (cores, gib): (f64, u64) = (parts[4].parse().unwrap(), parts[5].parse().unwrap());
    let found = json!({
        "ID": format!("id-{}", parts[0]),
        "Spec": { "Availability": parts[2], "Labels": labels(parts.get(6).copied().unwrap_or_default()) },
        "Description": {
            "Hostname": parts[0],
            "Resources": { "NanoCPUs": (cores * 1e9) as u64, "MemoryBytes": gib << 30 },
            "Engine": { "EngineVersion": parts[3] },
        },
        "Status": { "State": parts[1] },
    });
    nodes::node(serde_json::from_value::<FoundNode>(found).unwrap()).unwrap()
}

fn farm() -> Vec<Node> {
    vec![
        node("one ready active 26.1.5+dfsg1 2 4 zone=east disk=fast"),
        node("two ready active 28.0.0 8 16 zone=west"),
        node("three ready drain 28.0.0 64 256 zone=west disk=fast"),
        node("four down active 28.0.0 64 256 zone=north"),
        node("five ready active 20.10.24 64 256 zone=south"),
    ]
}

#[test]
fn a_node_takes_what_it_is_ready_and_new_enough_for() {
    let check = |asked: &str, expected: &str| {
        let nodes = farm();
        let taking: Vec<&str> =
            nodes.iter().filter(|node| node.takes(&labels(asked))).map(|node| node.state.name.as_str()).collect();
        let capacity = nodes::capacity(&nodes, &labels(asked));
        let found = format!("{} {} {}", taking.join(","), capacity.cpus, capacity.memory >> 30);
        assert_eq!(found.trim(), expected, "{asked}");
    };
    check("", "one,two 10 20");
    check("zone=west", "two 8 16");
    check("zone=west disk=fast", "0 0");
    check("zone=north", "0 0");
    check("zone=south", "0 0");
    assert!(farm()[4].state.problem.as_deref().is_some_and(|why| why.contains("20.10.24")));
    assert!(farm()[3].is_down() && !farm()[2].is_down());
}

#[test]
fn labels_are_the_runtimes_or_those_of_one_node() {
    let check = |asked: &str, met: bool, beyond: &str| {
        let (own, asked) = (labels("site=a zone=any"), labels(asked));
        let all = nodes::labels(&farm(), &own, &asked);
        assert_eq!(asked.iter().all(|(key, value)| all.get(key) == Some(value)), met, "{asked:?} of {all:?}");
        assert_eq!(nodes::beyond(&own, &asked), labels(beyond), "{asked:?}");
    };
    check("", true, "");
    check("site=a", true, "");
    check("disk=fast", true, "disk=fast");
    check("site=a disk=fast", true, "disk=fast");
    check("site=b", false, "site=b");
    check("zone=any disk=fast", true, "disk=fast");
    check("disk=slow", false, "disk=slow");
}

#[test]
fn what_no_node_could_hold_is_known_before() {
    let check = |asked: &str, cpu: f64, gib: u64, expected: Option<&str>| {
        let found = nodes::too_small(&farm(), &labels(asked), Some(cpu), Some(gib << 30));
        assert_eq!(found.as_deref(), expected, "{asked} {cpu} {gib}");
    };
    check("", 8.0, 16, None);
    check("", 9.0, 1, Some("none of its nodes is that large: at most 8 cores and 16384 MiB"));
    check("", 1.0, 17, Some("none of its nodes is that large: at most 8 cores and 16384 MiB"));
    check("zone=east", 3.0, 1, Some("none of its nodes is that large: at most 2 cores and 4096 MiB"));
    // Labels that none has are another matter.
    check("zone=moon", 99.0, 1, None);
}

fn task(id: &str, made: u32, state: &str, more: Value) -> FoundTask {
    let mut task = json!({
        "CreatedAt": format!("2026-01-01T00:00:{made:02}Z"),
        "Spec": { "ContainerSpec": { "Labels": { "dev.openshell.sandbox": id } } },
        "NodeID": "id-one",
        "DesiredState": "running",
        "Status": { "State": state, "Message": "said" },
    });
    for (key, value) in more.as_object().unwrap() {
        match key.as_str() {
            "Err" | "ContainerStatus" => task["Status"][key] = value.clone(),
            _ => task[key] = value.clone(),
        }
    }
    serde_json::from_value(task).unwrap()
}

#[test]
fn a_task_is_told_in_words() {
    let check = |state: &str, more: Value, expected: &str| {
        let found = newest(vec![task("A", 1, state, more)]);
        let told = match found.get("A").map(|task| &task.stage) {
            None => "none".to_owned(),
            Some(Stage::Waiting(why)) => format!("waits: {why}"),
            Some(Stage::Preparing(_)) => "prepares".to_owned(),
            Some(Stage::Running) => "runs".to_owned(),
            Some(Stage::Ended(how)) => how.clone(),
        };
        assert_eq!(told, expected, "{state}");
    };
    let code = |code: i64| json!({ "ExitCode": code });
    check("new", json!({}), "waits: said");
    check("pending", json!({ "Err": "no suitable node" }), "waits: no suitable node");
    check("preparing", json!({}), "prepares");
    check("running", json!({}), "runs");
    // Its node is down: what nobody hears of is not dead.
    check("running", json!({ "DesiredState": "shutdown" }), "runs");
    check("running", json!({ "DesiredState": "remove" }), "none");
    check("complete", json!({ "ContainerStatus": code(0) }), "its container ended with exit code 0");
    check(
        "failed",
        json!({ "Err": "task: non-zero exit (7)", "ContainerStatus": code(7) }),
        "its container ended with exit code 7",
    );
    check(
        "failed",
        json!({ "Err": "starting container failed: no such file", "ContainerStatus": code(127) }),
        "its container ended with exit code 127: starting container failed: no such file",
    );
    check("rejected", json!({ "Err": "No such image: x" }), "its node refused it: No such image: x");
    check("shutdown", json!({}), "the Swarm ended it, as it does when a node was lost or is drained");
    check("orphaned", json!({}), "the Swarm gave it up: its node did not come back");
}

#[test]
fn the_newest_task_counts() {
    let found = newest(vec![
        task("A", 3, "running", json!({})),
        task("A", 2, "shutdown", json!({})),
        task("B", 9, "running", json!({ "DesiredState": "remove" })),
        task("B", 1, "failed", json!({ "Err": "task: non-zero exit (1)", "ContainerStatus": { "ExitCode": 1 } })),
    ]);
    assert_eq!(found["A"].stage, Stage::Running);
    assert!(matches!(found["B"].stage, Stage::Ended(_)), "{found:?}");
}

fn start(spec: CreateSandbox) -> Start {
    let launch = json!({
        "sandbox_id": "01ABC", "sandbox": "demo", "gateway_url": "https://10.0.0.1:7443", "gateway_ca": "pem", "gateway_ca_epoch": 1,
        "token": "top-secret", "verifying_key": "00", "state_dir": "/.openshell", "workspace": "/sandbox",
        "command": [], "env": {}, "labels": {}, "add_hosts": {},
    });
    let launch: LaunchSpec = serde_json::from_value(launch).unwrap();
    Start { launch, spec }
}

fn spec(spec: CreateSandbox) -> Value {
    let start = start(spec);
    let on = nodes::beyond(&labels("site=a"), &start.spec.on);
    let plan = Plan {
        gateway: "g",
        runtime: "farm",
        start: &start,
        image: "registry.test:5000/x@sha256:00",
        secret: "secret-id",
        on,
        not_on: vec!["id-five".into()],
    };
    serde_json::to_value(plan.service()).unwrap()
}

#[test]
fn a_service_has_every_wall_and_nothing_secret() {
    let service = spec(CreateSandbox {
        cpu: Some(1.5),
        memory: Some(256 << 20),
        pids: Some(100),
        network: Some("net".into()),
        on: labels("site=a zone=east"),
        labels: [("team", "red"), ("dev.openshell.gateway", "forged")].map(|(k, v)| (k.into(), v.into())).into(),
        ..CreateSandbox::default()
    });
    let container = &service["TaskTemplate"]["ContainerSpec"];
    for (pointer, expected) in [
        ("/Name", json!("openshell-01abc")),
        ("/Mode/Replicated/Replicas", json!(1)),
        ("/EndpointSpec/Mode", json!("dnsrr")),
        ("/Labels/dev.openshell.gateway", json!("g")),
        ("/Labels/dev.openshell.sandbox", json!("01ABC")),
        ("/Labels/team", json!("red")),
        ("/TaskTemplate/RestartPolicy/Condition", json!("none")),
        ("/TaskTemplate/Placement/Constraints", json!(["node.labels.zone==east", "node.id!=id-five"])),
        ("/TaskTemplate/Networks/0/Target", json!("net")),
        ("/TaskTemplate/Resources/Limits", json!({ "NanoCPUs": 1_500_000_000, "MemoryBytes": 256 << 20, "Pids": 100 })),
        ("/TaskTemplate/Resources/Reservations/NanoCPUs", json!(1_500_000_000)),
        ("/TaskTemplate/Resources/Reservations/MemoryBytes", json!(256 << 20)),
    ] {
        assert_eq!(service.pointer(pointer), Some(&expected), "{pointer}");
    }
    for (pointer, expected) in [
        ("/Image", json!("registry.test:5000/x@sha256:00")),
        ("/User", json!("0:0")),
        ("/Init", json!(false)),
        ("/CapabilityDrop", json!(["ALL"])),
        ("/Privileges/NoNewPrivileges", json!(true)),
        ("/Privileges/Seccomp/Mode", json!("custom")),
        ("/Privileges/AppArmor/Mode", json!("disabled")),
        ("/HealthCheck/Test", json!(["NONE"])),
        ("/Secrets/0/SecretID", json!("secret-id")),
        ("/Secrets/0/File/Name", json!("/.openshell/launch.json")),
        ("/Secrets/0/File/Mode", json!(0o400)),
        ("/Labels/dev.openshell.sandbox", json!("01ABC")),
    ] {
        assert_eq!(container.pointer(pointer), Some(&expected), "{pointer}");
    }
    let capabilities = container["CapabilityAdd"].as_array().unwrap();
    assert!(capabilities.len() == 10 && capabilities.iter().all(|name| name.as_str().unwrap().starts_with("CAP_")));
    assert!(!service.to_string().contains("top-secret"), "{service}");
}

#[test]
fn what_no_service_can_have_is_refused_by_its_name() {
    let check = |spec: CreateSandbox, says: Option<&str>| {
        let found = service::refusal(&spec);
        match says {
            None => assert_eq!(found, None),
            Some(says) => assert!(found.as_deref().is_some_and(|why| why.contains(says)), "{says}: {found:?}"),
        }
    };
    let plain = CreateSandbox::default;
    check(plain(), None);
    check(CreateSandbox { network: Some("backend".into()), ..plain() }, None);
    check(CreateSandbox { network: Some("none".into()), ..plain() }, Some("it can't have none"));
    let volume = Volume { source: "cache".into(), target: "/cache".into(), read_only: true };
    check(CreateSandbox { volumes: vec![volume], ..plain() }, Some("the volume at /cache"));
    check(CreateSandbox { gpu: true, ..plain() }, Some("GPUs"));
    let hosts = |address: &str| CreateSandbox { add_hosts: [("h.test".into(), address.into())].into(), ..plain() };
    check(hosts("10.0.0.1"), None);
    check(hosts("host-gateway"), Some("host-gateway (for h.test)"));
}

#[test]
fn a_registry_is_a_host_and_a_name() {
    for (given, taken) in [
        ("registry.example/openshell", true),
        ("10.0.0.5:5000/team/open-shell_1", true),
        ("localhost/x", true),
        ("registry:5000/x", true),
        ("openshell", false),
        ("library/openshell", false),
        ("registry.example/openshell:latest", false),
        ("registry.example/openshell@sha256:00", false),
        ("https://registry.example/openshell", false),
        ("registry.example:port/x", false),
        ("registry.example/Open", false),
        ("registry.example/", false),
        ("registry.example/a//b", false),
        ("registry.example/../x", false),
        ("me@registry.example/x", false),
        ("", false),
    ] {
        assert_eq!(Repository::parse(given).is_some(), taken, "{given}");
    }
}
