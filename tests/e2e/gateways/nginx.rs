//! Behind nginx as the guide sets it up: a path prefix, HTTP/1.1 alone, and what is idle is cut.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use openshell_tests::origin::Authority;
use openshell_tests::servers::Server;
use openshell_tests::world::World;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::task::block_in_place;

use super::at;
use crate::support::{READ_ONLY, Stage};

const GUIDE: &str = include_str!("../../../docs/server.md");
/// nginx cuts what is idle for so long: less than half of what the guide says, to be the stricter.
const CUT: Duration = Duration::from_secs(25);
const IDLE: Duration = Duration::from_secs(32);

/// A stage whose gateway is behind nginx, added as `team`.
struct Front {
    stage: Stage,
    nginx: Server,
    socket: String,
}

impl Front {
    async fn new() -> Result<Self> {
        let world = World::new()?;
        let authority = Authority::new()?;
        let ca = world.write("origins.pem", authority.pem())?.display().to_string();
        let socket = world.path("proxy.sock").display().to_string();
        let words = ["gateway", "start", "--upstream-ca", &ca, "--proxy-socket", &socket];
        let public = ["--public-url", "https://gateway.example/openshell"];
        block_in_place(|| world.run(&[&words[..], &public].concat()))?.ok()?;
        let stage = Stage::within(world, &authority, &[], "true").await?;
        stage.rules(READ_ONLY).await?.ok()?;

        let snippet =
            GUIDE.split("```nginx\n").nth(1).and_then(|rest| rest.split("```").next()).context("a snippet")?;
        let (certificate, key) = authority.issue(&["127.0.0.1".to_owned()])?;
        let mut servers = snippet.to_owned();
        for (said, here) in [
            ("listen 443 ssl;", "listen LISTEN ssl;"),
            ("/etc/ssl/gateway.example.pem", "HERE/tls.pem"),
            ("/etc/ssl/gateway.example.key", "HERE/tls.key"),
            ("/run/openshell/proxy.sock", &socket),
            ("proxy_read_timeout 60s", &format!("proxy_read_timeout {}s", CUT.as_secs())),
        ] {
            ensure!(servers.contains(said), "the guide's snippet has no {said}");
            servers = servers.replace(said, here);
        }
        let files = [("tls.pem", certificate.as_str()), ("tls.key", key.as_str())];
        let nginx = block_in_place(|| Server::nginx(&servers, &files))?;
        let url = format!("https://127.0.0.1:{}/openshell", nginx.port);
        let token = stage.world.path("state/openshell/gateway/admin.token").display().to_string();
        let add = ["gateway", "add", "team", &url, "--ca", &ca, "--token-file", &token];
        stage.run(&add).await?.ok()?;
        stage.run(&["gateway", "select", "local"]).await?.ok()?;
        Ok(Self { stage, nginx, socket })
    }

    async fn run(&self, words: &[&str]) -> Result<openshell_tests::world::Ran> {
        at(&self.stage.world, "team", words).await
    }

    fn command(&self, words: &[&str]) -> tokio::process::Command {
        let mut command = self.stage.world.command(words);
        command.env("OPENSHELL_GATEWAY", "team").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        command
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_below_a_path_over_http_1_1() -> Result<()> {
    let front = Front::new().await?;
    let status = front.run(&["status", "-o", "json"]).await?.ok()?.json()?;
    ensure!(status["url"].as_str().is_some_and(|url| url.ends_with("/openshell")), "{status}");
    ensure!(front.run(&["sandbox", "list"]).await?.ok()?.stdout.contains("demo"));
    front.run(&["sandbox", "create", "--name", "second"]).await?.ok()?;

    // Streams of either direction, large enough to fill every buffer between.
    let big: Vec<u8> = (0..6_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut child = front.command(&["sandbox", "exec", "second", "--", "cat"]).spawn()?;
    let (mut input, mut output) = (child.stdin.take().context("input")?, child.stdout.take().context("output")?);
    let sent = big.clone();
    let writer = tokio::spawn(async move { input.write_all(&sent).await });
    let mut echoed = Vec::new();
    output.read_to_end(&mut echoed).await?;
    writer.await??;
    ensure!(child.wait().await?.success() && echoed == big, "{} bytes came back", echoed.len());

    std::fs::write(front.stage.world.path("big"), &big)?;
    front.run(&["sandbox", "upload", "second", "big", "/tmp/big"]).await?.ok()?;
    front.run(&["sandbox", "download", "second", "/tmp/big", "back"]).await?.ok()?;
    let back = front.stage.world.path("back");
    ensure!(std::fs::read(if back.is_dir() { back.join("big") } else { back })? == big);
    // A module is more than nginx takes by default.
    let rules = front.stage.world.path("rules.yaml").display().to_string();
    front.run(&["policy", "set", "second", "--policy", &rules]).await?.ok()?;
    front.stage.check(&[("curl -sS $API/", "hello from the origin")]).await?;
    ensure!(front.run(&["decisions", "--sandbox", "demo"]).await?.ok()?.stdout.contains("api.demo.test"));
    front.run(&["sandbox", "delete", "second"]).await?.ok()?;

    let log = std::fs::read_to_string(front.nginx.path("access.log"))?;
    ensure!(log.contains("GET /openshell/v1/") && log.contains("/streams HTTP/1.1\" 101"), "{log}");
    ensure!(!log.contains("HTTP/2"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_idle_for_longer_than_the_proxy_waits_is_not_cut() -> Result<()> {
    let front = Front::new().await?;
    let begun = Instant::now();
    // A command that says nothing; logs and decisions of which nothing comes; a port that nobody uses.
    let script = format!("sleep {}; echo alive", IDLE.as_secs());
    let exec = front.command(&["sandbox", "exec", "demo", "--", "sh", "-c", &script]).spawn()?;
    let mut logs = front.command(&["sandbox", "logs", "demo", "--follow", "--tail", "0"]).spawn()?;
    let mut decisions = front.command(&["decisions", "--sandbox", "demo", "--follow"]).spawn()?;
    let server = "import socket
s = socket.create_server(('127.0.0.1', 7777))
c, _ = s.accept()
while data := c.recv(100): c.sendall(data)";
    front.stage.upload("echo.py", server).await?;
    let serving = front.command(&["sandbox", "exec", "demo", "--", "python3", "echo.py"]).spawn()?;
    let port = openshell_tests::servers::free_port()?;
    let way = format!("{port}:7777");
    let forward = front.command(&["sandbox", "forward", "demo", &way]).spawn()?;
    let mut tcp = echoing(port).await?;
    let mut heard = [0; 5];

    tokio::time::sleep(IDLE.saturating_sub(begun.elapsed())).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), exec.wait_with_output()).await??;
    ensure!(ended.status.success() && ended.stdout == b"alive\n" && ended.stderr.is_empty(), "{ended:?}");
    tcp.write_all(b"again").await?;
    tokio::time::timeout(Duration::from_secs(10), tcp.read_exact(&mut heard)).await??;
    ensure!(&heard == b"again");
    front.stage.check(&[("curl -sS $API/late", "hello")]).await?;
    let mut lines = BufReader::new(decisions.stdout.take().context("output")?).lines();
    let found = async {
        while let Some(line) = lines.next_line().await? {
            if line.contains("/late") {
                return Ok::<_, anyhow::Error>(true);
            }
        }
        Ok(false)
    };
    ensure!(tokio::time::timeout(Duration::from_secs(10), found).await??, "the decisions were cut");
    ensure!(logs.try_wait()?.is_none(), "the logs were cut: {:?}", logs.wait_with_output().await?);
    drop((serving, forward));
    Ok(())
}

/// A connection that has brought something there and back: the command line listens, and so does the sandbox's server.
async fn echoing(port: u16) -> Result<tokio::net::TcpStream> {
    for _ in 0..200 {
        if let Ok(mut tcp) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await
            && tcp.write_all(b"first").await.is_ok()
            && matches!(tokio::time::timeout(Duration::from_secs(20), tcp.read_exact(&mut [0; 5])).await, Ok(Ok(_)))
        {
            return Ok(tcp);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("nothing echoes on port {port}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxys_socket_believes_no_header() -> Result<()> {
    let front = Front::new().await?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&front.socket)?.permissions());
    ensure!(mode & 0o777 == 0o660, "{mode:o}");
    let curl = async |words: &[&str]| -> Result<String> {
        let mut command = tokio::process::Command::new("curl");
        command.args(["-sS", "--unix-socket", &front.socket, "-o", "/dev/null", "-w", "%{http_code}"]).args(words);
        let output = command.output().await?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let token = std::fs::read_to_string(front.stage.world.path("state/openshell/gateway/admin.token"))?;
    let bearer = format!("Authorization: Bearer {}", token.trim());
    for (words, expected) in [
        (&["http://gateway/v1/status"][..], "401"),
        (&["-H", "X-Forwarded-User: admin", "-H", "X-Remote-User: admin", "http://gateway/v1/status"], "401"),
        (&["-H", "Cf-Access-Authenticated-User-Email: admin@example.test", "http://gateway/v1/status"], "401"),
        (&["-H", &bearer, "http://gateway/v1/status"], "200"),
        // A proxy that passes its path on.
        (&["-H", &bearer, "http://gateway/openshell/v1/status"], "200"),
        (&["http://gateway/openshell/healthz"], "200"),
        (&["http://gateway/openshell/v1/status"], "401"),
        (&["http://gateway/elsewhere/healthz"], "404"),
    ] {
        ensure!(curl(words).await? == expected, "{words:?}");
    }
    // The gateway's own door stays TLS alone.
    let url = front.stage.run(&["gateway", "status", "-o", "json"]).await?.ok()?.json()?;
    let plain = url["url"].as_str().context("a URL")?.replace("https://", "http://");
    let refused = tokio::process::Command::new("curl").args(["-sS", &plain]).output().await?;
    ensure!(!refused.status.success(), "{refused:?}");
    Ok(())
}
