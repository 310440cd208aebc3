//! A sandbox with a proxy that tells each connection who made it and where it meant to go.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

use libtest_mimic::Failed;
use openshell_proxy::caller::{Accept as _, Attribute as _, Attribution};
use openshell_proxy::intercept::{Callers, Entrance, Refusal, Refusals};
use openshell_proxy::isolation::{ExitStatus, Sandbox, SealConfig, SpawnRequest, Stdio};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

pub fn can_seal() -> bool {
    let unshare = |arguments: &[&str]| {
        std::process::Command::new("unshare").args(arguments).arg("true").status().is_ok_and(|status| status.success())
    };
    unshare(&["--net", "--mount"]) || unshare(&["--user", "--net", "--mount"])
}

#[derive(Default)]
pub struct Kept(Mutex<Vec<Refusal>>);

impl Refusals for Kept {
    fn refused(&self, refusal: Refusal) {
        self.0.lock().unwrap().push(refusal);
    }
}

pub struct World {
    pub workspace: TempDir,
    pub config: SealConfig,
    pub sandbox: Sandbox,
    pub refusals: Arc<Kept>,
    pub seen: Arc<Mutex<Vec<Attribution>>>,
}

pub struct Outcome {
    pub status: ExitStatus,
    pub output: String,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(adjust: impl FnOnce(&mut SealConfig)) -> Self {
        let workspace = tempfile::tempdir().unwrap();
        let mut config = SealConfig::new(workspace.path());
        adjust(&mut config);
        let refusals = Arc::new(Kept::default());
        let mut sandbox = Sandbox::seal(config.clone(), refusals.clone()).await.unwrap();
        let seen = Arc::new(Mutex::default());
        for entrance in std::mem::take(&mut sandbox.entrances) {
            tokio::spawn(serve(entrance, sandbox.callers.clone(), Arc::clone(&seen)));
        }
        Self { workspace, config, sandbox, refusals, seen }
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.workspace.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    }

    pub fn request(&self, argv: &[&str], stdio: Stdio) -> SpawnRequest {
        SpawnRequest {
            argv: argv.iter().map(|word| word.to_string()).collect(),
            env: self.config.base_environment(),
            cwd: self.workspace.path().into(),
            stdio,
        }
    }

    /// Runs a program to its end; both outputs together.
    pub async fn run(&self, argv: &[&str]) -> Outcome {
        let mut log = tempfile::tempfile().unwrap();
        let stdio = Stdio::logged(OwnedFd::from(log.try_clone().unwrap())).unwrap();
        let mut child = self.sandbox.spawner.spawn(self.request(argv, stdio)).await.unwrap();
        let status = child.wait().await.unwrap();
        let mut output = String::new();
        std::io::Seek::rewind(&mut log).unwrap();
        File::read_to_string(&mut log, &mut output).unwrap();
        Outcome { status, output: output.trim_end().into() }
    }

    /// The program must end well, and say this.
    pub async fn check(&self, argv: &[&str], expected: &str) -> Result<(), Failed> {
        let outcome = self.run(argv).await;
        match outcome.status == ExitStatus::Code(0) && outcome.output == expected {
            true => Ok(()),
            false => Err(format!("{argv:?}: {:?}\n{}\nexpected: {expected}", outcome.status, outcome.output).into()),
        }
    }

    /// Runs Python, which must end well and say this.
    pub async fn python(&self, code: &str, expected: &str) -> Result<(), Failed> {
        self.check(&["/usr/bin/python3", "-c", code], expected).await
    }

    pub fn refused(&self) -> Vec<String> {
        let line = |refusal: &Refusal| {
            let destination = &refusal.destination;
            let executable = refusal.caller.as_ref().map_or("?", |caller| &caller.process.executable);
            format!("{executable} {}:{} {:?}", destination.host, destination.port, refusal.reason)
        };
        self.refusals.0.lock().unwrap().iter().map(line).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.sandbox.spawner.kill();
    }
}

async fn serve(entrance: Arc<Entrance>, callers: Arc<Callers>, seen: Arc<Mutex<Vec<Attribution>>>) {
    while let Ok((stream, peer)) = entrance.accept().await {
        let (callers, seen) = (callers.clone(), seen.clone());
        tokio::spawn(async move {
            let local = stream.local_addr().unwrap();
            let attribution = callers.attribute(peer, local).await;
            let body = match &attribution {
                None => "nobody".into(),
                Some(Attribution { caller, intended }) => {
                    let to = intended.as_ref().map_or("proxy".into(), |to| format!("{}:{}", to.host, to.port));
                    format!("{} {to}", caller.process.executable)
                }
            };
            seen.lock().unwrap().extend(attribution);
            let _ = respond(stream, &body).await;
        });
    }
}

async fn respond(mut stream: TcpStream, body: &str) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await? > 0 {}
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await
}

pub fn sha256(path: impl AsRef<Path>) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(std::fs::read(path).unwrap()))
}
