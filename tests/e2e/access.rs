//! Ways into a sandbox: files, ports, shells, and what a cut connection does to them.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::support::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn files_and_folders_go_up_and_come_down() -> Result<()> {
    let stage = Stage::new().await?;
    stage.world.write("project/src/main.py", "print('hello')\n")?;
    stage.world.write("project/notes", "as they were")?;
    std::os::unix::fs::symlink("notes", stage.world.path("project/link"))?;
    // More than every buffer and window between the two ends.
    let mut big = std::fs::File::create(stage.world.path("project/big"))?;
    for n in 0..8_u8 {
        big.write_all(&vec![n; 4 << 20])?;
    }
    drop(big);
    let up = stage.run(&["sandbox", "upload", "demo", "project"]).await?.ok()?;
    ensure!(up.stderr.contains("uploaded 3 files"), "{}", up.stderr);
    stage
        .check(&[
            ("python3 project/src/main.py; readlink project/link; cat project/link", "hello\nnotes\nas they were"),
            ("sha256sum < project/big > sum; wc -c < project/big; test -O project/big && echo mine", "33554432\nmine"),
        ])
        .await?;
    stage.run(&["sandbox", "upload", "demo", "project/notes", "/tmp/renamed"]).await?.ok()?;
    stage.check(&[("cat /tmp/renamed", "as they were")]).await?;
    stage.run(&["sandbox", "download", "demo", "project", "back"]).await?.ok()?;
    ensure!(std::fs::read(stage.world.path("back/big"))? == std::fs::read(stage.world.path("project/big"))?);
    ensure!(std::fs::read_link(stage.world.path("back/link"))? == std::path::Path::new("notes"));

    let refused = stage.run(&["sandbox", "upload", "demo", "project/notes", "/etc/notes"]).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("can't write notes"), "{refused:?}");
    let refused = stage.run(&["sandbox", "download", "demo", "/no/such"]).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("can't read /no/such"), "{refused:?}");
    let refused = stage.run(&["sandbox", "upload", "demo", "no-such"]).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("can't read no-such"), "{refused:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_here_leads_to_a_port_there() -> Result<()> {
    let stage = Stage::new().await?;
    stage
        .check(&[(
            "mkdir www; echo served > www/page; cd www; python3 -m http.server 8000 >/dev/null 2>&1 & sleep 1; echo up",
            "up",
        )])
        .await?;
    let mut command = tokio::process::Command::from(
        stage.world.command(&["sandbox", "forward", "demo", "0:8000", "0:9", "-o", "json"]),
    );
    let mut forward = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut lines = BufReader::new(forward.stdout.take().context("its output")?).lines();
    let mut ports = Vec::new();
    for _ in 0..2 {
        let line = lines.next_line().await?.context("a line per port")?;
        let mapping: serde_json::Value = serde_json::from_str(&line)?;
        ports.push(mapping["local"].as_str().context("an address")?.parse::<SocketAddr>()?);
    }
    for _ in 0..20 {
        let mut socket = TcpStream::connect(ports[0]).await?;
        socket.write_all(b"GET /page HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        ensure!(answer.contains("200 OK") && answer.ends_with("served\n"), "{answer}");
    }
    let mut nobody = TcpStream::connect(ports[1]).await?;
    ensure!(nobody.read(&mut [0; 10]).await? == 0);
    let mut said = BufReader::new(forward.stderr.take().context("its errors")?).lines();
    let line = tokio::time::timeout(Duration::from_secs(20), said.next_line()).await??.unwrap_or_default();
    ensure!(line.contains("nothing answers on port 9"), "{line}");
    forward.kill().await?;
    Ok(())
}

/// A network between command line and gateway that can be cut.
async fn network(gateway: SocketAddr) -> Result<(SocketAddr, Arc<Notify>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let cut = Arc::new(Notify::new());
    let cuts = cut.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let cut = cuts.clone();
            tokio::spawn(async move {
                let Ok(mut server) = TcpStream::connect(gateway).await else { return };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    () = cut.notified() => {}
                }
            });
        }
    });
    Ok((address, cut))
}

/// A command line whose network can be cut.
struct Far {
    cut: Arc<Notify>,
    variables: Vec<(&'static str, String)>,
}

impl Far {
    async fn from(stage: &Stage) -> Result<Self> {
        let state = stage.world.path("state/openshell/gateway");
        let endpoint: serde_json::Value = serde_json::from_slice(&std::fs::read(state.join("endpoint.json"))?)?;
        let text = |name: &str| endpoint[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"));
        let (address, cut) = network(text("url")?.trim_start_matches("https://").parse()?).await?;
        let token = std::fs::read_to_string(text("token_file")?)?.trim().to_owned();
        let variables = vec![
            ("OPENSHELL_GATEWAY", format!("https://{address}")),
            ("OPENSHELL_TOKEN", token),
            ("OPENSHELL_CA_FILE", text("ca")?),
        ];
        Ok(Self { cut, variables })
    }

    /// Starts a shell script in `demo`, with pipes.
    fn exec(&self, stage: &Stage, script: &str) -> Result<tokio::process::Child> {
        let mut command = stage.world.command(&["sandbox", "exec", "demo", "--", "sh", "-c", script]);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let mut command = tokio::process::Command::from(command);
        Ok(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?)
    }
}

/// More than a command may leave unread before it is ended, and more cuts than that has windows.
#[tokio::test(flavor = "multi_thread")]
async fn input_under_way_survives_however_many_cuts() -> Result<()> {
    const MIB: usize = 24;
    let stage = Stage::new().await?;
    let far = Far::from(&stage).await?;
    let mut child = far.exec(&stage, "until [ -e go ]; do sleep 0.05; done; cat")?;
    let sent: Vec<u8> = (0..MIB << 20).map(|n: usize| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let expected = sent.clone();
    let mut input = child.stdin.take().context("input")?;
    let typing = tokio::spawn(async move { input.write_all(&sent).await });
    // Nobody reads it: a window is under way, and stays so.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        far.cut.notify_waiters();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stage.inside("touch go").await?.ok()?;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        far.cut.notify_waiters();
    }
    let ended = tokio::time::timeout(Duration::from_secs(120), child.wait_with_output()).await??;
    typing.await??;
    let notes = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{} {notes}", ended.status);
    ensure!(ended.stdout == expected, "{} bytes came back, or others: {notes}", ended.stdout.len());
    ensure!(notes.matches("connected again").count() >= 17, "{notes}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_survives_a_cut_network_and_a_new_gateway() -> Result<()> {
    let stage = Stage::new().await?;
    let far = Far::from(&stage).await?;
    let script = "n=0; while read line; do n=$((n+1)); echo \"$n $line\"; done; echo end of $n; exit 6";
    let mut child = far.exec(&stage, script)?;
    let (mut input, output) = (child.stdin.take().context("input")?, child.stdout.take().context("output")?);
    let mut lines = BufReader::new(output).lines();
    for n in 1..=30 {
        input.write_all(format!("line {n}\n").as_bytes()).await?;
        match n % 10 {
            // With the line just typed in flight.
            3 => far.cut.notify_waiters(),
            7 if n < 20 => {
                stage.run(&["gateway", "stop"]).await?.ok()?;
                stage.run(&["gateway", "start"]).await?.ok()?;
            }
            _ => {}
        }
        let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await??;
        ensure!(line.as_deref() == Some(&*format!("{n} line {n}")), "line {n}: {line:?}");
    }
    drop(input);
    ensure!(lines.next_line().await?.as_deref() == Some("end of 30"));
    let ended = child.wait_with_output().await?;
    let notes = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.code() == Some(6) && notes.matches("connected again").count() >= 4, "{notes}");
    Ok(())
}

/// Types in a shell that this command opens, through a terminal of our own, as a person would.
pub async fn typed_in(shell: &std::process::Command) -> Result<()> {
    let mut command = tokio::process::Command::new("python3");
    command.args(["-c", include_str!("terminal.py")]).arg(shell.get_program()).args(shell.get_args());
    for (name, value) in shell.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let ended = command.kill_on_drop(true).output().await?;
    ensure!(ended.status.code() == Some(9), "{ended:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_has_a_terminal_a_size_signals_and_an_exit_code() -> Result<()> {
    let stage = Stage::new().await?;
    typed_in(&stage.world.command(&["sandbox", "connect", "demo"])).await?;
    let refused = stage.run(&["sandbox", "connect", "demo"]).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("not a terminal"), "{refused:?}");
    Ok(())
}
