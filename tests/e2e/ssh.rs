//! OpenSSH's own programs, and what runs over them, into a sandbox.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use openshell_tests::world::{Ran, World};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::access::typed_in;
use crate::support::Stage;

/// OpenSSH with the configuration of one sandbox, and nothing else of this machine's.
pub struct Client {
    directory: PathBuf,
    config: PathBuf,
}

impl Client {
    /// Asks `sandbox ssh-config`.
    pub fn of(world: &World, sandbox: &str) -> Result<Self> {
        let config = world.run(&["sandbox", "ssh-config", sandbox])?.ok()?.stdout;
        let config = world.write(&format!("{sandbox}.ssh"), &config)?;
        Ok(Self { directory: world.root().to_owned(), config })
    }

    /// A program of OpenSSH's, ready to run. Nothing tells it where the gateway is but the configuration.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.arg("-F").arg(&self.config).args(arguments).current_dir(&self.directory);
        command.env_remove("OPENSHELL_GATEWAY").env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
        command
    }

    /// Runs one to its end.
    pub async fn run(&self, program: &str, arguments: &[&str], input: &[u8]) -> Result<Ran> {
        finished(self.command(program, arguments), input).await
    }
}

/// Runs a command to its end; what it prints and how it ended.
async fn finished(command: Command, input: &[u8]) -> Result<Ran> {
    let (code, stdout, stderr) = raw(command, input).await?;
    Ok(Ran { code, stdout: String::from_utf8_lossy(&stdout).into_owned(), stderr })
}

async fn raw(command: Command, input: &[u8]) -> Result<(i32, Vec<u8>, String)> {
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let (mut stdin, input) = (child.stdin.take().context("input")?, input.to_vec());
    // One that ends early takes no more.
    tokio::spawn(async move { stdin.write_all(&input).await });
    let output = tokio::time::timeout(Duration::from_secs(120), child.wait_with_output()).await??;
    let code = output.status.code().unwrap_or(-1);
    Ok((code, output.stdout, String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Bytes that don't repeat.
fn noise(length: u32) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

async fn stage() -> Result<(Stage, Client)> {
    let stage = Stage::new().await?;
    let client = Client::of(&stage.world, "demo")?;
    Ok((stage, client))
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_have_streams_and_an_end() -> Result<()> {
    let (stage, client) = stage().await?;
    for (arguments, input, code, stdout, stderr) in [
        (&["openshell-demo", "echo out; echo err >&2; exit 7"][..], "", 7, "out\n", "err\n"),
        (&["openshell-demo", "tr a-z A-Z"], "hello", 0, "HELLO", ""),
        (&["-T", "openshell-demo"], "echo $0; exit 3\n", 3, "bash\n", ""),
        (&["openshell-demo", "test $PWD = $HOME && echo home"], "", 0, "home\n", ""),
        (&["openshell-demo", "printf %s\\\\n 'a  b' \"$USER\""], "", 0, "a  b\nsandbox\n", ""),
        (&["openshell-demo", "kill -9 $$"], "", 255, "", ""),
        (&["openshell-demo", "no-such-program"], "", 127, "", "not found"),
        (&["-o", "SetEnv=LC_TIME=C.UTF-8", "openshell-demo", "echo $LC_TIME"], "", 0, "C.UTF-8\n", ""),
        (&["-o", "SetEnv=BASH_ENV=/x LD_PRELOAD=/x", "openshell-demo", "echo $BASH_ENV$LD_PRELOAD"], "", 0, "\n", ""),
        (&["-s", "openshell-demo", "telnet"], "", 255, "", "subsystem request failed"),
        // Nothing of this machine is offered to what runs there.
        (&["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "openshell-demo", "true"], "", 255, "", "failed"),
        (&["-W", "10.0.0.1:80", "openshell-demo"], "", 255, "", "administratively prohibited"),
    ] {
        let ran = client.run("ssh", arguments, input.as_bytes()).await?;
        ensure!(
            ran.code == code && ran.stdout == stdout && ran.stderr.contains(stderr),
            "{arguments:?}: {ran:?}, not {code} {stdout:?} {stderr:?}"
        );
        ensure!(!stderr.is_empty() || ran.stderr.is_empty(), "{arguments:?}: {ran:?}");
    }

    // More than all windows hold, to and fro at once, and to one that takes its time.
    let big = noise(16_000_000);
    let (code, echoed, errors) = raw(client.command("ssh", &["openshell-demo", "cat"]), &big).await?;
    ensure!(code == 0 && echoed == big, "{code} {} bytes {errors}", echoed.len());
    let slow = client.run("ssh", &["openshell-demo", "sleep 2; wc -c"], &big).await?.ok()?;
    ensure!(slow.stdout.trim() == "16000000", "{slow:?}");

    let config = std::fs::read_to_string(&client.config)?;
    stage.world.write("nobody.ssh", &config.replace("demo", "nobody"))?;
    let nobody = client.run("ssh", &["-F", "nobody.ssh", "openshell-nobody", "true"], b"").await?;
    ensure!(nobody.code == 255 && nobody.stderr.contains("error: there is no sandbox nobody\nhint: "), "{nobody:?}");
    let nobody = stage.run(&["sandbox", "ssh-config", "nobody"]).await?;
    ensure!(
        nobody.code == 1 && nobody.stdout.is_empty() && nobody.stderr.contains("there is no sandbox"),
        "{nobody:?}"
    );
    stage.run(&["sandbox", "stop", "demo"]).await?.ok()?;
    let stopped = client.run("ssh", &["openshell-demo", "true"], b"").await?;
    ensure!(stopped.code == 255 && stopped.stderr.contains("sandbox demo is stopped"), "{stopped:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_has_a_terminal_and_ends_with_its_client() -> Result<()> {
    let (stage, client) = stage().await?;
    typed_in(&client.command("ssh", &["-tt", "openshell-demo"])).await?;

    let command = client.command("ssh", &["openshell-demo", "echo $$; exec sleep 1000"]);
    let mut child = tokio::process::Command::from(command).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let pid = BufReader::new(child.stdout.take().context("output")?).lines().next_line().await?.context("a line")?;
    stage.check(&[(&format!("tr '\\0' ' ' < /proc/{pid}/cmdline"), "sleep 1000")]).await?;
    child.kill().await?;
    stage
        .check(&[(
            &format!("for n in $(seq 100); do [ -e /proc/{pid} ] || break; sleep 0.1; done; ls /proc/{pid}"),
            "No such",
        )])
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_here_leads_to_a_port_there() -> Result<()> {
    let (stage, client) = stage().await?;
    stage
        .check(&[(
            "mkdir www; echo served > www/page; cd www; python3 -m http.server 8000 >/dev/null 2>&1 & sleep 1; echo up",
            "up",
        )])
        .await?;
    let free = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let socks = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let forward = format!("{}:localhost:8000", free.port());
    // As VS Code does, beside one port: whichever the client asks for.
    let command = client.command("ssh", &["-N", "-L", &forward, "-D", &socks.to_string(), "openshell-demo"]);
    let mut ssh = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    let mut answers = 0;
    for _ in 0..100 {
        let Ok(mut socket) = TcpStream::connect(free).await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        socket.write_all(b"GET /page HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        ensure!(answer.contains("200 OK") && answer.ends_with("served\n"), "{answer}");
        answers += 1;
        if answers == 20 {
            break;
        }
    }
    ensure!(answers == 20, "{answers} answers");
    for (url, reached, expected) in [
        ("http://127.0.0.1:8000/page", true, "served\n"),
        ("http://127.0.0.1:9/", false, ""),
        ("http://example.com/", false, ""),
    ] {
        let mut curl = Command::new("curl");
        curl.args(["-s", "--socks5-hostname", &socks.to_string(), url]);
        let ran = finished(curl, b"").await?;
        ensure!(ran.stdout == expected && (ran.code == 0) == reached, "{url}: {ran:?}");
    }
    ssh.kill().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_travel_by_scp_sftp_and_rsync() -> Result<()> {
    let (stage, client) = stage().await?;
    let big = noise(3_000_000);
    stage.world.write("tree/notes", "as they were")?;
    std::fs::write(stage.world.path("tree/big"), &big)?;
    std::os::unix::fs::symlink("notes", stage.world.path("tree/link"))?;

    client.run("scp", &["-r", "-p", "tree", "openshell-demo:"], b"").await?.ok()?;
    client.run("scp", &["tree/notes", "openshell-demo:~/renamed"], b"").await?.ok()?;
    stage
        .check(&[("wc -c < tree/big; cat renamed; test -O renamed && echo ' mine'", "3000000\nas they were mine")])
        .await?;
    client.run("scp", &["-r", "openshell-demo:tree", "back"], b"").await?.ok()?;
    ensure!(std::fs::read(stage.world.path("back/big"))? == big);
    for (to, why) in [("openshell-demo:/etc/notes", "ermission denied"), ("openshell-demo:/no/such", "No such file")] {
        let refused = client.run("scp", &["tree/notes", to], b"").await?;
        ensure!(refused.code != 0 && refused.stderr.contains(why), "{to}: {refused:?}");
    }

    let batch = "mkdir a\ncd a\nput tree/notes n\nln -s n l\nrename n m\nchmod 600 m\nls -l\npwd\nget m got\nrm m\nrm l\ncd ..\nrmdir a\nls\n";
    let ran = client.run("sftp", &["-b", "-", "openshell-demo"], batch.as_bytes()).await?.ok()?;
    ensure!(ran.stdout.contains("-rw-------") && ran.stdout.contains("/workspace/a\n"), "{ran:?}");
    ensure!(ran.stdout.lines().last().is_some_and(|line| line.split_whitespace().eq(["renamed", "tree"])), "{ran:?}");
    ensure!(std::fs::read_to_string(stage.world.path("got"))? == "as they were");

    let transport = format!("ssh -F {}", client.config.display());
    let mut rsync = Command::new("rsync");
    rsync.args(["-a", "--delete", "-e", &transport, "tree/", "openshell-demo:mirror/"]).current_dir(stage.world.root());
    finished(rsync, b"").await?.ok()?;
    stage.check(&[("cmp tree/big mirror/big && readlink mirror/link", "notes")]).await?;
    let mut rsync = Command::new("rsync");
    rsync.args(["-a", "-e", &transport, "openshell-demo:mirror", "mirrored"]).current_dir(stage.world.root());
    finished(rsync, b"").await?.ok()?;
    ensure!(std::fs::read(stage.world.path("mirrored/mirror/big"))? == big);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_in_a_sandbox_is_cloned_and_pushed_to() -> Result<()> {
    let (stage, client) = stage().await?;
    let identity = "-c user.name=a -c user.email=a@a.test -c init.defaultBranch=main";
    stage
        .check(&[(
            &format!("git {identity} init -q work && cd work && echo one > file && git add . && git {identity} commit -qm one && git clone -q --bare . ../repo.git && echo made"),
            "made",
        )])
        .await?;
    let script = format!(
        "set -e; git clone -q openshell-demo:repo.git clone; cd clone; cat file; dd if=/dev/urandom of=big bs=1M count=2 2>/dev/null; \
         echo two >> file; git add .; git {identity} commit -qm two; git push -q origin HEAD; git ls-remote -q origin"
    );
    let mut git = Command::new("sh");
    git.args(["-c", &script]).current_dir(stage.world.root());
    git.env("GIT_SSH_COMMAND", format!("ssh -F {}", client.config.display())).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let ran = finished(git, b"").await?.ok()?;
    ensure!(ran.stdout.starts_with("one\n") && ran.stdout.contains("refs/heads/main"), "{ran:?}");
    stage
        .check(&[("git -C repo.git log --format=%s main; git -C repo.git show main:file", "two\none\none\ntwo\n")])
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_carries_several_sessions() -> Result<()> {
    let (stage, client) = stage().await?;
    let socket = stage.world.path("master");
    let control = format!("ControlPath={}", socket.display());
    let master = client.command("ssh", &["-N", "-o", "ControlMaster=yes", "-o", &control, "openshell-demo"]);
    let mut master = tokio::process::Command::from(master).kill_on_drop(true).spawn()?;
    for _ in 0..100 {
        if socket.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Each waits for the other, and neither could connect by itself.
    let mut both = tokio::task::JoinSet::new();
    for (own, other) in [("a", "b"), ("b", "a")] {
        let script = format!(
            "touch {own}; for n in $(seq 300); do [ -e {other} ] && break; sleep 0.1; done; [ -e {other} ] && echo {own}"
        );
        let arguments = ["-o", "ProxyCommand=false", "-o", &control, "openshell-demo", &script];
        both.spawn(finished(client.command("ssh", &arguments), b""));
    }
    let mut said = Vec::new();
    while let Some(ran) = both.join_next().await {
        said.push(ran??.ok()?.stdout);
    }
    said.sort();
    ensure!(said == ["a\n", "b\n"], "{said:?}");
    // One that takes nothing holds up nobody.
    let stuck = client.command("ssh", &["-o", "ProxyCommand=false", "-o", &control, "openshell-demo", "sleep 1000"]);
    let mut stuck = tokio::process::Command::from(stuck).stdin(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut input = stuck.stdin.take().context("input")?;
    let flood = tokio::spawn(async move { input.write_all(&noise(64_000_000)).await });
    tokio::time::sleep(Duration::from_secs(3)).await;
    let big = noise(4_000_000);
    let cat = client.command("ssh", &["-o", "ProxyCommand=false", "-o", &control, "openshell-demo", "cat"]);
    let (code, echoed, errors) = raw(cat, &big).await?;
    ensure!(code == 0 && echoed == big, "{code} {} bytes {errors}", echoed.len());
    ensure!(!flood.is_finished(), "the flood was held back");
    stuck.kill().await?;
    master.kill().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installed_configuration_is_found_and_written_once() -> Result<()> {
    let stage = Stage::new().await?;
    stage.world.write("home/.ssh/config", "Host other\n    Port 1\n")?;
    let home = stage.world.path("home");
    let install = || async {
        let mut command = stage.world.command(&["sandbox", "ssh-config", "demo", "--install"]);
        command.env("HOME", &home);
        finished(command, b"").await?.ok()
    };
    let first = install().await?;
    ensure!(first.stdout.is_empty() && first.stderr.matches("wrote ").count() == 2, "{first:?}");
    let written = std::fs::read_to_string(home.join(".ssh/config"))?;
    ensure!(
        written.starts_with("Include ") && written.ends_with("openshell_config\nHost other\n    Port 1\n"),
        "{written}"
    );
    let second = install().await?;
    ensure!(second.stderr.starts_with("nothing to change"), "{second:?}");
    ensure!(std::fs::read_to_string(home.join(".ssh/config"))? == written);
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(home.join(".ssh/config")).args(["openshell-demo", "echo found"]);
    let ran = finished(ssh, b"").await?.ok()?;
    ensure!((ran.stdout.as_str(), ran.stderr.as_str()) == ("found\n", ""), "{ran:?}");

    // Whoever can read the host key can pretend to be the sandbox.
    let config = std::fs::read_to_string(home.join(".ssh/openshell_config"))?;
    let key = config.split("--host-key ").nth(1).and_then(|rest| rest.split(' ').next()).context("a host key")?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(key)?.permissions());
    ensure!(mode & 0o7777 == 0o600, "{mode:o}");
    std::fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(home.join(".ssh/config")).args(["openshell-demo", "true"]);
    let refused = finished(ssh, b"").await?;
    ensure!(refused.code == 255 && refused.stderr.contains("others may read it"), "{refused:?}");
    Ok(())
}
