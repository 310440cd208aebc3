//! One gateway and a Swarm of two machines, each a network namespace with an engine of its own: `boss`, its manager, reached over TLS,
//! and `hand`, a worker that is lost and found again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use openshell_tests::servers::Server;
use openshell_tests::world::World;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::BUSYBOX;
use super::machines::{Far, Keys, Yard, run};

/// Who is let in at the registry, and with what; as htpasswd(1) writes it.
const USER: (&str, &str) = ("farmer", "barn-door-7");
const USERS: &str = "farmer:$2b$05$IPx4Qf2zV5mmsCQeKoFQfONbM7tophI7p5TNJ1qUQAXnuxAcMXtKS\n";

/// A Swarm with a registry that both machines reach.
struct Farm {
    boss: Far,
    hand: Far,
    registry: Server,
    keys: Keys,
}

impl Farm {
    fn new() -> Result<Option<Self>> {
        let keys = Keys::new("10.213.3.2")?;
        let registry = Server::registry_with("0.0.0.0", Some(USERS))?;
        let open = "--insecure-registry 10.213.3.1/32";
        let Some(boss) = Far::node("boss", 3, &format!("{open} {}", keys.flags()))? else { return Ok(None) };
        let Some(hand) = Far::node("hand", 4, open)? else { return Ok(None) };
        boss.tie(&hand)?;
        Ok(Some(Self { boss, hand, registry, keys }))
    }

    /// A worker that is silent for three heartbeats is down.
    fn gather(&self) -> Result<()> {
        self.boss.docker(&["swarm", "init", "--advertise-addr", "10.212.0.3", "--dispatcher-heartbeat", "1s"])?;
        let token = self.boss.docker(&["swarm", "join-token", "-q", "worker"])?;
        self.hand.docker(&["swarm", "join", "--advertise-addr", "10.212.0.4", "--token", &token, "10.212.0.3:2377"])?;
        Ok(())
    }

    fn repository(&self) -> String {
        format!("10.213.3.1:{}/farm/openshell", self.registry.port)
    }

    /// Tags of the repository.
    fn tags(&self) -> Result<Value> {
        let url = format!("http://127.0.0.1:{}/v2/farm/openshell/tags/list", self.registry.port);
        let login = format!("{}:{}", USER.0, USER.1);
        Ok(serde_json::from_str::<Value>(&run("curl", &["-s", "-u", &login, &url])?)?["tags"].take())
    }

    fn lose(&self) -> Result<()> {
        self.hand.there("ip link set tie down")?;
        self.hand.pull()
    }

    fn find(&self) -> Result<()> {
        self.hand.there("ip link set tie up")?;
        self.hand.plug()
    }

    fn left(&self) -> Result<(String, String)> {
        Ok((self.boss.docker(&["service", "ls", "-q"])?, self.boss.docker(&["secret", "ls", "-q"])?))
    }
}

/// An entry of the trail about something, with this in its detail.
fn told(entries: &Value, action: &str, object: &str, detail: impl Fn(&Value) -> bool) -> bool {
    let all = entries.as_array().into_iter().flatten();
    all.filter(|entry| entry["action"] == action && entry["object"] == object).any(|entry| detail(&entry["detail"]))
}

/// Waits until this is so; else that is so.
async fn until(else_: &str, so: impl Fn() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !so()? {
        ensure!(began.elapsed() < Duration::from_secs(60), "{else_}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swarm_places_runs_loses_and_starts_sandboxes_anew() -> Result<()> {
    let Some(farm) = block_in_place(Farm::new)? else { return Ok(()) };
    let mut yard = Yard::of(World::new()?, "10.213.3.1", None).await?;
    let reached = format!("https://10.213.3.1:{}", yard.port);
    let (ca, certificate, key) = (farm.keys.text("ca.pem"), farm.keys.text("client.pem"), farm.keys.text("client.key"));
    let tls = ["--tls-ca", &ca, "--tls-cert", &certificate, "--tls-key", &key, "--gateway-url", &reached];
    let add = [&["runtime", "add", "farm", "swarm", "tcp://10.213.3.2:2376"][..], &tls].concat();
    let repository = farm.repository();
    let password = yard.world.write("password", &format!("{}\n", USER.1))?.display().to_string();
    let at = ["--registry", &repository, "--registry-user", USER.0, "--registry-password-file", &password];

    // Nothing is kept of what can't be used.
    yard.refused(&add, &["take their images from a registry", "--registry HOST:PORT/NAME"]).await?;
    yard.refused(&[&add[..], &["--registry", "farm:latest"]].concat(), &["is no repository"]).await?;
    yard.refused(&[&add[..], &at].concat(), &["is no manager of a Swarm: it is in none", "docker swarm init"]).await?;
    block_in_place(|| farm.gather())?;
    let nowhere = ["--registry", "10.213.3.1:1/farm/openshell"];
    yard.refused(&[&add[..], &nowhere].concat(), &["10.213.3.1:1/farm/openshell can't be used", "refused"]).await?;
    yard.refused(&[&add[..], &at[..2]].concat(), &["can't be used", "auth", "--registry-user"]).await?;
    let wrong = yard.world.write("wrong", "barn-door-8")?.display().to_string();
    yard.refused(&[&add[..], &at[..5], &[&wrong]].concat(), &["can't be used", "nauthorized"]).await?;
    let engine = [&["runtime", "add", "farm", "docker", "tcp://10.213.3.2:2376"][..], &tls, &at].concat();
    yard.refused(&engine, &["an engine takes no registry"]).await?;
    ensure!(yard.json(&["runtime", "list"]).await?.as_array().map(Vec::len) == Some(2), "something was kept");

    let added = yard.json(&[&add[..], &at, &["--label", "site=a"]].concat()).await?;
    let names: Vec<&str> = added["nodes"].as_array().into_iter().flatten().filter_map(|n| n["name"].as_str()).collect();
    ensure!(added["kind"] == "swarm" && added["health"] == "answers" && names == ["boss", "hand"], "{added}");
    let cpus = |value: &Value| value["cpus"].as_f64().unwrap_or_default();
    ensure!(added["registry_user"] == USER.0, "{added}");
    ensure!(cpus(&added) == cpus(&added["nodes"][0]) + cpus(&added["nodes"][1]), "{added}");
    farm.boss.docker(&["node", "update", "--label-add", "disk=fast", "hand"])?;
    yard.until(&["runtime", "get", "farm"], |farm| farm["nodes"][1]["labels"]["disk"] == "fast").await?;

    // What lets it in is nowhere in the clear, and can be replaced.
    let update = ["runtime", "update", "farm", "--registry-user", USER.0, "--registry-password-file"];
    yard.refused(&[&update[..], &[&wrong]].concat(), &["can't be used"]).await?;
    yard.run(&[&update[..], &[&password]].concat()).await?.ok()?;
    let told_of = yard.run(&["runtime", "get", "farm", "-o", "json"]).await?.ok()?.stdout
        + &yard.run(&["audit", "list", "-o", "json"]).await?.ok()?.stdout;
    ensure!(
        told_of.contains("runtime.add") && !told_of.contains(USER.1) && !told_of.contains("PRIVATE KEY"),
        "{told_of}"
    );
    let state = yard.world.path("state").display().to_string();
    ensure!(run("grep", &["-rlaF", USER.1, &state]).is_err(), "the password lies in the gateway's state");
    yard.run(&["gateway", "rotate-keys"]).await?.ok()?;

    // By labels of the runtime and of its nodes, and by what is reserved.
    yard.create("one", &["--on", "site=a", "--on", "disk=fast", "--memory", "256m", "--pids", "200"]).await?.ok()?;
    let one = yard.json(&["sandbox", "get", "one"]).await?;
    ensure!(one["runtime"] == "farm" && one["node"] == "hand" && one["phase"] == "running", "{one}");
    ensure!(one["enforcement"]["checks"].as_array().is_some_and(|checks| checks.len() >= 50), "{one}");
    ensure!(one["degraded"] == json!(["user-namespace"]), "{one}");
    let listed = yard.run(&["sandbox", "list"]).await?.ok()?.stdout;
    ensure!(listed.contains("farm/hand"), "{listed}");
    let create = ["sandbox", "create", "--from", BUSYBOX];
    for (more, says) in [
        (&["--on", "disk=slow"][..], "farm: it lacks the label disk=slow"),
        (&["--cpu", "4000"], "none of its nodes is that large"),
        (&["--runtime", "farm", "--volume", "cache:/cache"], "can't show the volume at /cache"),
        (&["--runtime", "farm", "--network", "none"], "it can't have none"),
        (&["--runtime", "farm", "--network", "nowhere"], "nowhere"),
    ] {
        yard.refused(&[&create[..], more].concat(), &[says]).await?;
    }
    // What is promised is kept free: there is no second place for as much.
    let memory = added["nodes"][1]["memory"].as_u64().context("a size")? / 5 * 3;
    let much = memory.to_string();
    let large = ["--runtime", "farm", "--on", "disk=fast", "--memory", &much];
    yard.create("large", &large).await?.ok()?;
    yard.refused(&[&create[..], &large].concat(), &["the Swarm finds no place for it", "no suitable node"]).await?;
    yard.run(&["sandbox", "delete", "large"]).await?.ok()?;
    // One in a network of the Swarm's own.
    farm.boss.docker(&["network", "create", "--driver", "overlay", "backend"])?;
    yard.create("two", &["--runtime", "farm", "--network", "backend"]).await?.ok()?;
    let (services, secrets) = farm.left()?;
    ensure!(services.lines().count() == 2 && secrets.lines().count() == 2, "{services}\n{secrets}");
    ensure!(farm.tags()?.as_array().map(Vec::len) == Some(1), "the image was made more than once: {}", farm.tags()?);

    // Walls as everywhere, and nothing secret where others may read.
    let id = one["id"].as_str().context("an id")?.to_ascii_lowercase();
    let service = farm.boss.docker(&["service", "inspect", &format!("openshell-{id}")])?;
    let spec: Value = serde_json::from_str(&service)?;
    let container = &spec[0]["Spec"]["TaskTemplate"]["ContainerSpec"];
    ensure!(container["Privileges"]["NoNewPrivileges"] == true, "{container}");
    ensure!(!service.contains("PRIVATE KEY") && !service.contains("\"token\""), "{service}");
    let container = farm.hand.docker(&["ps", "-q", "--filter", &format!("name=openshell-{id}")])?;
    let inspected: Value = serde_json::from_str(&farm.hand.docker(&["inspect", &container])?)?;
    let host = &inspected[0]["HostConfig"];
    ensure!(host["CapDrop"] == json!(["ALL"]) && host["PidsLimit"] == 200 && host["Memory"] == 256 << 20, "{host}");
    ensure!(host["SecurityOpt"].to_string().contains("pivot_root"), "the profile is not ours: {host}");
    for (script, expected) in [
        ("id -u", "65532"),
        ("grep CapEff /proc/self/status", "0000000000000000"),
        ("grep -vc -e lo: -e '|' /proc/net/dev || true", "0"),
        ("cat /.openshell/launch.json 2>&1 || true", "No such file"),
        ("touch ~/x && ls ~", "x"),
    ] {
        let ran = yard.shell("one", script).await?;
        ensure!(format!("{}{}", ran.stdout, ran.stderr).contains(expected), "{script}: {ran:?}");
    }
    let rules = yard.rules()?;
    for name in ["one", "two"] {
        yard.run(&["policy", "set", name, "--policy", &rules]).await?.ok()?;
        yard.enforces(name).await?;
    }
    ensure!(yard.run(&["sandbox", "logs", "one"]).await?.ok()?.stdout.contains("the sandbox is sealed and runs"));
    yard.refused(&["sandbox", "stop", "one"], &["a Swarm keeps no files", "sandbox download"]).await?;
    yard.refused(&["runtime", "remove", "farm"], &["is in the runtime farm"]).await?;

    // A gateway that crashed finds what it had, and removes what belongs to nothing.
    let gateway = spec[0]["Spec"]["Labels"]["dev.openshell.gateway"].as_str().context("a label")?;
    let script = format!(
        "echo x | docker -H {} secret create -l dev.openshell.gateway={gateway} -l dev.openshell.runtime=farm \
         -l dev.openshell.sandbox=01GONE openshell-01gone -",
        farm.boss.host
    );
    run("sh", &["-c", &script])?;
    yard.crash().await?;
    for name in ["one", "two"] {
        yard.until(&["sandbox", "get", name], |sandbox| sandbox["connected"] == true && sandbox["phase"] == "running")
            .await?;
        yard.enforces(name).await?;
    }
    yard.until(&["audit", "list"], |all| told(all, "runtime.back", "farm", |it| it["removed"] == json!(["01GONE"])))
        .await?;
    ensure!(farm.left()?.1.lines().count() == 2, "what was left is still there");

    // A node is lost: its manager says so, nobody hears of its sandbox, and it runs on.
    let stolen = yard.world.path("stolen.json");
    farm.hand.docker(&["cp", &format!("{container}:/.openshell/link.json"), &stolen.display().to_string()])?;
    let stolen: Value = serde_json::from_slice(&std::fs::read(stolen)?)?;
    let key = stolen["key"].as_str().context("a key")?;
    ensure!(yard.knock(key)? != "401", "the key is not one");
    let two = yard.json(&["sandbox", "get", "two"]).await?;
    block_in_place(|| farm.lose())?;
    yard.until(&["runtime", "get", "farm"], |farm| farm["nodes"][1]["health"] == "down").await?;
    yard.until(&["sandbox", "get", "one"], |sandbox| sandbox["phase"] == "lost").await?;
    yard.until(&["audit", "list"], |all| {
        told(all, "runtime.lost", "farm/hand", |it| {
            it["lost"].as_array().is_some_and(|lost| lost.contains(&json!("one")))
        })
    })
    .await?;
    ensure!(yard.json(&["runtime", "get", "farm"]).await?["health"] == "answers", "the Swarm is lost with it");
    if two["node"] == "boss" {
        ensure!(yard.json(&["sandbox", "get", "two"]).await?["phase"] == "running", "the other node is lost too");
    }
    ensure!(farm.hand.docker(&["inspect", "-f", "{{.State.Running}}", &container])? == "true", "it does not run on");
    yard.refused(&["sandbox", "start", "one"], &["the node hand of sandbox one is down", "--elsewhere"]).await?;
    yard.refused(&["sandbox", "exec", "one", "--", "true"], &["its node hand of the runtime farm is down"]).await?;
    yard.refused(&["sandbox", "start", "one", "--elsewhere"], &["farm: it lacks the label disk=fast"]).await?;

    // Elsewhere in the Swarm it is what it was, and what was stolen opens nothing.
    farm.boss.docker(&["node", "update", "--label-add", "disk=fast", "boss"])?;
    yard.until(&["runtime", "get", "farm"], |farm| farm["nodes"][0]["labels"]["disk"] == "fast").await?;
    yard.run(&["sandbox", "start", "one", "--elsewhere"]).await?.ok()?;
    let moved = yard.json(&["sandbox", "get", "one"]).await?;
    ensure!(moved["node"] == "boss" && moved["phase"] == "running" && moved["id"] == one["id"], "{moved}");
    yard.enforces("one").await?;
    for credential in [key, stolen["refresh"].as_str().context("a refresh")?] {
        ensure!(yard.knock(credential)? == "401", "a credential of the lost node opens the link");
    }

    // The node is back: the Swarm ends what it had there.
    block_in_place(|| farm.find())?;
    yard.until(&["audit", "list"], |all| told(all, "runtime.back", "farm/hand", |_| true)).await?;
    let runs = ["ps", "-q", "--filter", &format!("name=openshell-{id}")];
    until("it runs twice", || Ok(farm.hand.docker(&runs)?.is_empty())).await?;
    yard.enforces("one").await?;

    // One that died is not started as if its files were there.
    let here = farm.boss.docker(&["ps", "-q", "--filter", &format!("name=openshell-{id}")])?;
    farm.boss.docker(&["kill", &here])?;
    let failed = yard.until(&["sandbox", "get", "one"], |sandbox| sandbox["phase"] == "failed").await?;
    ensure!(failed["failure"].as_str().is_some_and(|why| why.contains("its container was killed")), "{failed}");
    yard.refused(&["sandbox", "start", "one"], &["a Swarm keeps no files", "--elsewhere"]).await?;
    yard.run(&["sandbox", "start", "one", "--elsewhere"]).await?.ok()?;
    yard.enforces("one").await?;

    // Nothing stays but the image, which the next sandbox takes.
    yard.run(&["sandbox", "delete", "one", "two"]).await?.ok()?;
    ensure!(farm.left()? == (String::new(), String::new()), "services or secrets are left: {:?}", farm.left()?);
    ensure!(farm.tags()?.as_array().map(Vec::len) == Some(1), "{}", farm.tags()?);
    for far in [&farm.boss, &farm.hand] {
        until("containers are left", || Ok(far.docker(&["ps", "-aq"])?.is_empty())).await?;
    }
    farm.boss.docker(&["network", "rm", "backend"])?;
    yard.run(&["runtime", "remove", "farm"]).await?.ok()?;
    ensure!(yard.json(&["runtime", "list"]).await?.as_array().map(Vec::len) == Some(2), "it is still there");
    drop(yard);
    Ok(())
}
