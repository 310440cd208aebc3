//! Sandboxes in containers of a real Docker engine, through the command line.
//!
//! Each test asks `scripts/docker-engine.sh` for an engine with the tests' images. Where none can be had, they say so and
//! end; with `OPENSHELL_TEST_DOCKER=required` that is a failure.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use openshell_tests::origin::{Authority, Origin, OriginConfig};
use openshell_tests::world::{Ran, World, finish};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::{eventually, kill_gateway};

mod engines;
mod hands;
mod limits;
mod machines;
mod roots;
mod ssh;
mod swarm;

pub const DEBIAN: &str = "openshell-test/debian";
pub const BUSYBOX: &str = "openshell-test/busybox";
const USER: &str = "openshell-test/user";
const SCRATCH: &str = "openshell-test/scratch";

/// A world with an engine, an HTTPS origin `api.demo.test` and a plain one `plain.demo.test` on the engine's host.
pub struct Yard {
    pub world: World,
    pub engine: String,
    secure: Origin,
    plain: Origin,
}

/// An engine with the tests' images, or why there is none.
pub fn engine(environment: &[(&str, &str)]) -> Result<String> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/docker-engine.sh");
    let output = Command::new(script).arg("images").envs(environment.iter().copied()).output()?;
    let host = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(output.status.success() && !host.is_empty(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(host)
}

/// `None`, said aloud: there is no engine here, and none is required.
pub async fn yard() -> Result<Option<Yard>> {
    let found = tokio::task::spawn_blocking(|| engine(&[])).await?;
    match found {
        Ok(engine) => Ok(Some(Yard::new(engine).await?)),
        Err(why) if std::env::var("OPENSHELL_TEST_DOCKER").is_ok_and(|word| word == "required") => Err(why),
        Err(why) => {
            eprintln!("SKIPPED: no Docker engine can be had here: {why:#}");
            Ok(None)
        }
    }
}

impl Yard {
    async fn new(engine: String) -> Result<Self> {
        let world = World::new()?.with_env("DOCKER_HOST", &engine);
        let authority = Authority::new()?;
        let config = |name: &str| OriginConfig { name: name.into(), ..OriginConfig::default() };
        let secure = Origin::start(
            TcpListener::bind("0.0.0.0:0").await?,
            config("secure"),
            Some((&authority, &["api.demo.test".to_owned()])),
        )?;
        let plain = Origin::start(TcpListener::bind("0.0.0.0:0").await?, config("plain"), None)?;
        let ca = world.write("origins.pem", authority.pem())?;
        let yard = Self { world, engine, secure, plain };
        yard.run(&["gateway", "start", "--upstream-ca", &ca.to_string_lossy()]).await?.ok()?;
        Ok(yard)
    }

    async fn run(&self, arguments: &[&str]) -> Result<Ran> {
        finish(self.world.command(arguments)).await
    }

    /// `sandbox create --name NAME --from IMAGE …`, with both origins' names.
    async fn create(&self, name: &str, image: &str, more: &[&str]) -> Result<Ran> {
        let fixed = ["sandbox", "create", "--name", name, "--from", image];
        let hosts = ["--add-host", "api.demo.test:host-gateway", "--add-host", "plain.demo.test:host-gateway"];
        self.run(&[&fixed[..], &hosts, more].concat()).await
    }

    /// Runs a program in a sandbox.
    async fn exec(&self, name: &str, program: &[&str]) -> Result<Ran> {
        self.run(&[&["sandbox", "exec", name, "--"], program].concat()).await
    }

    /// Each row: a shell script in a sandbox, and what its output must hold. `$API` and `$PLAIN` are the origins.
    async fn check(&self, name: &str, rows: &[(&str, &str)]) -> Result<()> {
        let (api, plain) = (self.secure.address.port(), self.plain.address.port());
        for (script, expected) in rows {
            let script = format!("API=https://api.demo.test:{api}; PLAIN=http://plain.demo.test:{plain}; {script}");
            let ran = self.exec(name, &["sh", "-c", &script]).await?;
            let output = format!("{}{}", ran.stdout, ran.stderr);
            ensure!(output.contains(expected), "{script}\n  expected {expected:?} in:\n{output}");
        }
        Ok(())
    }

    /// Lets a program read both origins.
    async fn allow(&self, name: &str, program: &str) -> Result<()> {
        let private = "allowed_ips: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16]";
        let rules = format!(
            "version: 1\nnetwork_policies:\n  demo:\n    endpoints:\n\
             \x20     - {{host: api.demo.test, port: {}, protocol: rest, access: read-only, {private}}}\n\
             \x20     - {{host: plain.demo.test, port: {}, protocol: rest, access: read-only, {private}}}\n\
             \x20   binaries: [{{path: {program}}}]\n",
            self.secure.address.port(),
            self.plain.address.port(),
        );
        let path = self.world.write("rules.yaml", &rules)?;
        self.run(&["policy", "set", name, "--policy", &path.to_string_lossy()]).await?.ok()?;
        Ok(())
    }

    /// What the gateway says about a sandbox.
    async fn sandbox(&self, name: &str) -> Result<Value> {
        self.run(&["sandbox", "get", name, "-o", "json"]).await?.ok()?.json()
    }

    /// Waits until the gateway says so.
    async fn until(&self, name: &str, phase: &str) -> Result<Value> {
        for _ in 0..300 {
            let sandbox = self.sandbox(name).await?;
            if sandbox["phase"] == phase {
                return Ok(sandbox);
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        bail!("sandbox {name} does not become {phase}: {}", self.sandbox(name).await?)
    }

    /// Runs the engine's own command line.
    fn docker(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("docker").args(arguments).env("DOCKER_HOST", &self.engine).output()?;
        ensure!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// What the engine says about a sandbox's container.
    async fn container(&self, name: &str) -> Result<Value> {
        let id = self.sandbox(name).await?["id"].as_str().context("it has an id")?.to_ascii_lowercase();
        let inspected = self.docker(&["inspect", &format!("openshell-{id}")])?;
        Ok(serde_json::from_str::<Value>(&inspected)?[0].take())
    }
}

/// Every check of a proof held, these among them.
fn proven(enforcement: &Value, among: &[&str]) -> Result<()> {
    let checks = enforcement["checks"].as_array().context("nothing was tried")?;
    ensure!(checks.len() >= 50 && checks.iter().all(|check| check["outcome"] == "proven"), "{enforcement}");
    for name in among {
        ensure!(checks.iter().any(|check| check["name"] == *name), "{name} was not tried: {enforcement}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_image_is_sealed_without_a_capability_and_not_as_root() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    let port = yard.plain.address.port();
    let url = format!("http://plain.demo.test:{port}/status");
    // Image, program that fetches, its path inside, and the user it must run as.
    for (image, fetch, binary, user) in [
        (BUSYBOX, &["wget", "-q", "-O-"][..], "/bin/busybox", "65532:65532"),
        (USER, &["wget", "-q", "-O-"], "/bin/busybox", "1234:1235"),
        (SCRATCH, &["/wget", "-q", "-O-"], "/wget", "65532:65532"),
        (DEBIAN, &["curl", "-sS"], "/usr/bin/curl", "65532:65532"),
    ] {
        let name = image.rsplit('/').next().context("it has a name")?;
        let created = yard.create(name, image, &["-o", "json"]).await?.ok()?.json()?;
        ensure!(created["runtime"] == "docker" && created["image"] == image, "{created}");
        ensure!(created["degraded"].as_array().is_none_or(Vec::is_empty), "{created}");
        proven(&created["enforcement"], &[])?;

        let found = yard.container(name).await?;
        let (host, config) = (&found["HostConfig"], &found["Config"]);
        ensure!(host["CapDrop"] == serde_json::json!(["ALL"]) && host["CapAdd"].is_null(), "{host}");
        ensure!(host["Privileged"] == false, "{host}");
        ensure!(config["User"] == user, "{image}: {}", config["User"]);
        ensure!(config["Healthcheck"]["Test"] == serde_json::json!(["NONE"]), "{}", config["Healthcheck"]);
        let security = host["SecurityOpt"].to_string();
        ensure!(security.contains("no-new-privileges") && security.contains("SCMP_ACT_ERRNO"), "{security}");
        let pid = found["State"]["Pid"].as_u64().context("it runs")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        for line in ["CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
            ensure!(status.contains(line), "{image}: no {line:?} in\n{status}");
        }

        let refused = yard.exec(name, &[fetch, &[url.as_str()]].concat()).await?;
        ensure!(
            format!("{}{}", refused.stdout, refused.stderr).contains("403") || refused.stdout.contains("policy_denied"),
            "{refused:?}"
        );
        ensure!(yard.plain.seen().is_empty(), "{image}: nothing may reach the origin before a policy allows it");
        yard.allow(name, binary).await?;
        yard.exec(name, &[fetch, &[url.as_str()]].concat()).await?.ok()?;
        ensure!(yard.plain.seen().len() == 1, "{image}: {:?}", yard.plain.seen());
        yard.run(&["sandbox", "delete", name]).await?.ok()?;
        // The next image begins with an origin that has seen nothing.
        yard.plain.forget();
    }
    let left = yard.docker(&["ps", "-a", "-q", "--filter", "label=dev.openshell.name=busybox"])?;
    ensure!(left.is_empty(), "containers are left: {left}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn debian_clients_are_inspected_and_have_no_other_way_out() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    yard.create("deb", DEBIAN, &[]).await?.ok()?;
    yard.check("deb", &[("curl -sS $API/status", r#""error":"policy_denied""#), ("wget -nv -O- $API/status", "403")])
        .await?;
    yard.allow("deb", "/usr/bin/curl").await?;
    let gateway = yard.docker(&["network", "inspect", "openshell", "-f", "{{(index .IPAM.Config 0).Gateway}}"])?;
    let direct = format!("curl -sS -m 5 http://{gateway}:{}/status", yard.plain.address.port());
    yard.check(
        "deb",
        &[
            ("curl -sS -o /dev/null -w '%{http_code}' $API/status", "200"),
            ("curl -sS -X POST -d x=1 $API/items", r#""error":"policy_denied""#),
            ("wget -nv -O- $API/status", "403"),
            (&direct, "policy_denied"),
            ("cat /proc/net/dev | grep -vc -e lo: -e '|' || true", "0"),
            ("cat /.openshell/launch.json", "No such file"),
            ("touch /etc/x", "Read-only file system"),
            ("touch ~/x && ls ~", "x"),
            ("id -u", "65532"),
            ("grep CapEff /proc/self/status", "0000000000000000"),
        ],
    )
    .await?;
    let decisions = yard.run(&["decisions", "--sandbox", "deb", "-o", "json"]).await?.ok()?;
    ensure!(decisions.stdout.contains("/usr/bin/wget"), "the caller is not named: {}", decisions.stdout);
    let listed = yard.run(&["sandbox", "list"]).await?.ok()?;
    ensure!(listed.stdout.contains("docker"), "{}", listed.stdout);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_reaches_the_container_and_the_workload() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    let shared = yard.world.path("shared");
    std::fs::create_dir_all(&shared)?;
    std::fs::write(shared.join("note"), "from the host")?;
    let volume = format!("openshell-test-{}", std::process::id());
    let (bind, named) = (format!("{}:/notes:ro", shared.display()), format!("{volume}:/cache"));
    let limits = ["--cpu", "0.5", "--memory", "512m", "--pids", "200", "--label", "team=red", "--env", "MODE=fast"];
    yard.create("asked", USER, &[&limits[..], &["--volume", &bind, "--volume", &named]].concat()).await?.ok()?;
    let found = yard.container("asked").await?;
    let host = &found["HostConfig"];
    ensure!(host["NanoCpus"] == 500_000_000 && host["Memory"] == 536_870_912 && host["PidsLimit"] == 200, "{host}");
    ensure!(found["Config"]["Labels"]["team"] == "red", "{}", found["Config"]["Labels"]);
    yard.check(
        "asked",
        &[
            ("echo $MODE $GREETING", "fast hello"),
            ("pwd", "/srv/app"),
            ("id -un", "agent"),
            ("cat /notes/note", "from the host"),
            ("touch /notes/x", "Read-only file system"),
            ("echo kept > /cache/x && cat /cache/x", "kept"),
        ],
    )
    .await?;
    ensure!(
        !PathBuf::from("/tmp/checked").exists() && found["State"]["Health"].is_null(),
        "the image's health check ran"
    );
    yard.run(&["sandbox", "delete", "asked"]).await?.ok()?;
    // A volume with a name outlives its sandbox.
    yard.create("again", USER, &["--volume", &named]).await?.ok()?;
    yard.check("again", &[("cat /cache/x", "kept")]).await?;
    yard.run(&["sandbox", "delete", "again"]).await?.ok()?;
    yard.docker(&["volume", "rm", &volume])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_signals_and_orphans_are_the_first_processs_business() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    let ended = yard.create("once", BUSYBOX, &["--", "sh", "-c", "echo out; echo err >&2; exit 7"]).await?;
    ensure!((ended.code, ended.stdout.as_str()) == (7, "out\n"), "{ended:?}");
    let sandbox = yard.until("once", "exited").await?;
    ensure!(sandbox["exit_code"] == 7, "{sandbox}");

    // A container that is killed: the engine tells, nobody asks it.
    yard.create("victim", BUSYBOX, &["--detach", "--", "sleep", "1000"]).await?.ok()?;
    let container = yard.container("victim").await?["Name"].as_str().context("it has a name")?.to_owned();
    yard.docker(&["kill", container.trim_start_matches('/')])?;
    let sandbox = yard.until("victim", "failed").await?;
    ensure!(sandbox["failure"].as_str().is_some_and(|why| why.contains("its container was killed")), "{sandbox}");

    // `docker stop` is a SIGTERM to the first process, which passes it on: no need to wait for the SIGKILL after 60 s.
    yard.create("polite", BUSYBOX, &["--detach", "--", "sleep", "1000"]).await?.ok()?;
    let container = yard.container("polite").await?["Name"].as_str().context("it has a name")?.to_owned();
    yard.docker(&["stop", "-t", "60", container.trim_start_matches('/')])?;
    let code = yard.container("polite").await?["State"]["ExitCode"].clone();
    ensure!(code == 0, "the supervisor did not end by itself: {code}");

    // Orphans are reaped: no zombies pile up.
    yard.create("orphans", BUSYBOX, &[]).await?.ok()?;
    let script = "for n in $(seq 50); do (sh -c 'true &' &); done; sleep 1; ps -o stat,comm | grep -c ^Z || true";
    yard.check("orphans", &[(script, "0")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_container_keeps_its_exit_code_and_starts_again_with_what_it_held() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    yard.create("worker", BUSYBOX, &["--memory", "512m"]).await?.ok()?;
    yard.allow("worker", "/bin/busybox").await?;
    yard.check("worker", &[("echo kept > note; wget -q -O- $PLAIN/status", "hello from the origin")]).await?;
    let (before, container) = (yard.sandbox("worker").await?, yard.container("worker").await?);

    yard.run(&["sandbox", "stop", "worker"]).await?.ok()?;
    let stopped = yard.sandbox("worker").await?;
    ensure!(stopped["phase"] == "stopped" && stopped["connected"] == false, "{stopped}");
    ensure!(yard.container("worker").await?["State"]["Running"] == false, "its container still runs");

    yard.run(&["sandbox", "start", "worker"]).await?.ok()?;
    let after = yard.sandbox("worker").await?;
    for same in ["id", "generation", "created_at", "image", "runtime"] {
        ensure!(before[same] == after[same], "{same} changed: {before} {after}");
    }
    ensure!(after["phase"] == "running" && before["enforcement"]["at"] != after["enforcement"]["at"], "{after}");
    proven(&after["enforcement"], &[])?;
    ensure!(yard.container("worker").await?["Id"] == container["Id"], "it is another container");
    yard.check(
        "worker",
        &[
            ("cat note; wget -q -O- $PLAIN/status", "kept\nhello from the origin"),
            ("wget -q -O- --post-data x=1 $PLAIN/items 2>&1 || true", "403"),
        ],
    )
    .await?;

    // One that has ended: its code outlives the stop, and a start runs it once more.
    let script = "echo run >> runs; wc -l < runs; exit 7";
    let ran = yard.create("once", BUSYBOX, &["-q", "--", "sh", "-c", script]).await?;
    ensure!(ran.code == 7 && ran.stdout.trim() == "1", "{ran:?}");
    yard.run(&["sandbox", "stop", "once"]).await?.ok()?;
    let stopped = yard.sandbox("once").await?;
    ensure!(stopped["phase"] == "stopped" && stopped["exit_code"] == 7, "{stopped}");
    yard.run(&["sandbox", "start", "once"]).await?.ok()?;
    let exited = yard.until("once", "exited").await?;
    ensure!(exited["exit_code"] == 7, "{exited}");
    // Its last lines are on their way when it is told that it has ended.
    eventually("the lines of both runs are kept", 100, async || {
        let logs = yard.run(&["sandbox", "logs", "once"]).await?.ok()?.stdout;
        Ok(logs.contains("1\n") && logs.contains("2\n"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_build_the_walls_of_a_container_and_a_probe_proves_them() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    let rules = "version: 1\nfilesystem_policy: {include_workdir: true, read_only: [/bin], read_write: [/cache]}\n\
                 process: {run_as_user: sandbox}\n";
    let file = yard.world.write("walled.yaml", rules)?.to_string_lossy().into_owned();
    let volume = format!("openshell-walls-{}", std::process::id());
    let named = format!("{volume}:/cache");
    yard.create("walled", BUSYBOX, &["--policy", &file, "--volume", &named]).await?.ok()?;
    yard.check(
        "walled",
        &[
            ("echo kept > /cache/x && cat /cache/x", "kept"),
            ("touch ~/x && ls ~", "x"),
            ("touch /bin/x 2>&1 || true", "Read-only file system"),
            ("ls /etc/passwd 2>&1 || true", "No such file"),
            ("id -u", "65532"),
        ],
    )
    .await?;
    let verified = yard.run(&["sandbox", "verify", "walled", "-o", "json"]).await?.ok()?.json()?;
    proven(&verified, &["dial-v4", "metadata", "io-uring", "supervisor-files", "leaked-handle", "resource-limits"])?;
    let listed = yard.run(&["sandbox", "list"]).await?.ok()?.stdout;
    let count = verified["checks"].as_array().map_or(0, Vec::len);
    ensure!(listed.contains(&format!("{count}/{count} proven")), "{listed}");

    // Another image's user can't be had without privileges: refused, and nothing is left.
    let other = yard.world.write("other.yaml", "version: 1\nprocess: {run_as_user: '4711'}\n")?;
    let refused = yard.create("other", BUSYBOX, &["--policy", &other.to_string_lossy()]).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("can only run as user 65532, not as 4711"), "{refused:?}");
    ensure!(yard.run(&["sandbox", "get", "other"]).await?.code == 1, "nothing of it is left");
    yard.run(&["sandbox", "delete", "walled"]).await?.ok()?;
    yard.docker(&["volume", "rm", &volume])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_finds_its_containers_again_and_removes_strays() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    yard.create("kept", BUSYBOX, &[]).await?.ok()?;
    yard.create("doomed", BUSYBOX, &["--detach", "--", "sleep", "1000"]).await?.ok()?;
    yard.allow("kept", "/bin/busybox").await?;
    let before = yard.container("kept").await?;
    let label = before["Config"]["Labels"]["dev.openshell.gateway"].as_str().context("it is labelled")?.to_owned();
    kill_gateway(&yard.world)?;

    // Meanwhile one container dies, and one is there that no sandbox in the database owns.
    let doomed = yard.docker(&[
        "ps",
        "-q",
        "--filter",
        "label=dev.openshell.name=doomed",
        "--filter",
        &format!("label=dev.openshell.gateway={label}"),
    ])?;
    yard.docker(&["kill", &doomed])?;
    let gateway_label = format!("dev.openshell.gateway={label}");
    let labels = ["--label", gateway_label.as_str(), "--label", "dev.openshell.sandbox=stray"];
    let stray = [&["create", "--name", "openshell-stray"][..], &labels, &[BUSYBOX, "sleep", "1000"]].concat();
    yard.docker(&stray)?;

    yard.run(&["gateway", "start"]).await?.ok()?;
    yard.until("doomed", "failed").await?;
    let after = yard.container("kept").await?;
    ensure!(
        before["Id"] == after["Id"] && before["State"]["StartedAt"] == after["State"]["StartedAt"],
        "it was restarted"
    );
    yard.check("kept", &[("wget -q -O- $PLAIN/status", "")]).await?;
    for _ in 0..100 {
        if yard.docker(&["ps", "-a", "-q", "--filter", "name=openshell-stray"])?.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    bail!("the stray container is still there")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cant_be_had_is_refused_and_leaves_nothing() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    let source = yard.world.path("absent").to_string_lossy().into_owned();
    let absent = format!("{source}:/data");
    for (image, more, expected) in [
        ("openshell-test/absent", &[][..], "there is no image openshell-test/absent"),
        (BUSYBOX, &["--network", "no-such-network"], "no-such-network"),
        (BUSYBOX, &["--gpu"], "the Docker engine refused to start the container"),
        (BUSYBOX, &["--volume", &absent], "bind source path does not exist"),
        (BUSYBOX, &["--volume", "data:/proc"], "which is the sandbox's own"),
        (BUSYBOX, &["--memory", "1m"], "no limit that a sandbox can run with"),
        (BUSYBOX, &["--runtime", "process"], "the runtime process can't give a sandbox an image"),
    ] {
        // Quiet: where a machine is slow, progress would be said before the error.
        let ran = yard.create("refused", image, &[more, &["--quiet"]].concat()).await?;
        ensure!(ran.code != 0 && ran.stderr.contains(expected), "{image} {more:?}: expected {expected:?} in {ran:?}");
        ensure!(ran.stderr.starts_with("error: "), "{ran:?}");
    }
    let listed = yard.run(&["sandbox", "list", "-o", "json"]).await?.ok()?.json()?;
    ensure!(listed.as_array().is_some_and(Vec::is_empty), "{listed}");
    let left = yard.docker(&["ps", "-a", "-q", "--filter", "label=dev.openshell.name=refused"])?;
    ensure!(left.is_empty(), "containers are left: {left}");
    Ok(())
}
