//! Those who leave before the end, on either side: what they begun does not live on, and nothing half-done stays.

use std::io::Read as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Stage, eventually};

/// A command of a sandbox lives for two minutes without anybody, if it is kept. What is over sooner was not kept.
const SOON: Duration = Duration::from_secs(30);
/// Looks, a tenth of a second apart, that make that.
const TIMES: u32 = 300;

fn begin(stage: &Stage, arguments: &[&str]) -> Result<Child> {
    let mut command = stage.world.command(arguments);
    Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

fn signal(child: &Child, name: &str) -> Result<()> {
    let status = std::process::Command::new("kill").args(["-s", name, &child.id().to_string()]).status()?;
    ensure!(status.success(), "SIG{name}: {status}");
    Ok(())
}

/// Names that begin with `.openshell-`, in a directory here.
fn partial(directory: &std::path::Path) -> Result<usize> {
    let names = std::fs::read_dir(directory)?.filter_map(|entry| entry.ok());
    Ok(names.filter(|entry| entry.file_name().to_string_lossy().starts_with(".openshell-")).count())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_hung_up_when_its_reader_or_its_terminal_is_gone() -> Result<()> {
    let stage = Stage::new().await?;
    let inside = |file: &str| format!("trap 'touch {file}; exit' HUP; while :; do echo x; sleep 0.02; done");
    // `openshell … | head -1`
    let mut child = begin(&stage, &["sandbox", "exec", "demo", "--", "sh", "-c", &inside("read-enough")])?;
    child.stdout.take().context("its output")?.read_exact(&mut [0; 2])?;
    eventually("its reader is gone", TIMES, async || Ok(stage.inside("test -e read-enough").await?.code == 0)).await?;
    let status = child.wait()?;
    ensure!(status.code() == Some(0), "a reader that has enough is no error: {status}");

    let mut child = begin(&stage, &["sandbox", "exec", "demo", "--", "sh", "-c", &inside("hung-up")])?;
    child.stdout.as_mut().context("its output")?.read_exact(&mut [0; 2])?;
    signal(&child, "HUP")?;
    eventually("its terminal is gone", TIMES, async || Ok(stage.inside("test -e hung-up").await?.code == 0)).await?;
    let ended = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.code() == Some(130) && said.contains("the terminal is gone"), "{ended:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_transfers_leave_nothing_half_written() -> Result<()> {
    let stage = Stage::new().await?;
    // Longer than anybody waits for it; it takes no space.
    stage.inside("truncate -s 40G big").await?.ok()?;
    let here = stage.world.path("here");
    std::fs::create_dir(&here)?;
    let to = here.to_string_lossy().into_owned();
    let child = begin(&stage, &["sandbox", "download", "demo", "big", &to])?;
    eventually("it writes", TIMES, async || Ok(partial(&here)? == 1)).await?;
    signal(&child, "INT")?;
    let ended = child.wait_with_output()?;
    ensure!(ended.status.code() == Some(130), "{ended:?}");
    ensure!(std::fs::read_dir(&here)?.count() == 0, "nothing of it is there");

    let began = Instant::now();
    let refused = stage.run(&["sandbox", "download", "demo", "big", "/sys/"]).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("can't write"), "{refused:?}");
    ensure!(began.elapsed() < SOON, "the rest is not fetched in vain: {:?}", began.elapsed());

    let source = stage.world.path("source");
    std::fs::File::create(&source)?.set_len(40 << 30)?;
    let mut child = begin(&stage, &["sandbox", "upload", "demo", &source.to_string_lossy()])?;
    let half = "ls -A | grep -c '^[.]openshell-'";
    eventually("the sandbox writes", TIMES, async || Ok(stage.inside(half).await?.stdout.trim() == "1")).await?;
    child.kill()?;
    child.wait()?;
    eventually("the sandbox removes it", TIMES, async || Ok(stage.inside(half).await?.stdout.trim() == "0")).await?;
    stage.check(&[("ls", "big")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn either_side_of_a_port_may_end_first_and_still_listen() -> Result<()> {
    let stage = Stage::new().await?;
    let server = "import socket\ns=socket.create_server(('127.0.0.1',8000))\nopen('up','w').close()\n\
        while True:\n c,_=s.accept()\n c.sendall(b'bye')\n c.shutdown(socket.SHUT_WR)\n \
        d=c.makefile('rb').read()\n f=open('heard.new','wb')\n f.write(d)\n f.close()\n import os\n os.rename('heard.new','heard')\n c.close()";
    stage.world.write("server.py", server)?;
    stage.run(&["sandbox", "upload", "demo", "server.py"]).await?.ok()?;
    stage.inside("python3 server.py >/dev/null 2>&1 & until [ -e up ]; do sleep 0.05; done").await?.ok()?;

    let mut forward = begin(&stage, &["sandbox", "forward", "demo", "0:8000", "-o", "json"])?;
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(forward.stdout.as_mut().context("its output")?),
        &mut line,
    )?;
    let mapping: serde_json::Value = serde_json::from_str(&line)?;
    let local: std::net::SocketAddr = mapping["local"].as_str().context("an address")?.parse()?;

    let long = vec![b'y'; 3 << 20];
    for sent in [&b"still here"[..], b"", &long] {
        let mut socket = TcpStream::connect(local).await?;
        let mut bye = Vec::new();
        tokio::time::timeout(SOON, socket.read_to_end(&mut bye)).await.context("no end of output")??;
        ensure!(bye == b"bye", "{bye:?}");
        socket.write_all(sent).await?;
        socket.shutdown().await?;
        let wanted = format!("test \"$(wc -c < heard)\" = {} && rm heard", sent.len());
        eventually("what came after its end is heard", TIMES, async || Ok(stage.inside(&wanted).await?.code == 0))
            .await?;
    }
    forward.kill()?;
    forward.wait()?;
    Ok(())
}
