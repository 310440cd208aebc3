//! Real gateways, each a process of its own, that can be killed; their sandboxes' supervisors are tasks of the test.
#![allow(dead_code)] // The benchmark uses its part.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use openshell_api::launch::LaunchSpec;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::Answer;
use crate::world::supervisor::Supervisor;

/// One of them, and what it takes to ask it.
pub struct Gateway {
    child: Option<Child>,
    state: PathBuf,
    url: String,
    http: reqwest::Client,
    token: String,
}

/// What each of the gateways of a database is started with.
pub struct Terms {
    dir: tempfile::TempDir,
    /// Absent: each has one of its own.
    database: Option<String>,
}

/// The gateway's program: this build's, or whichever is to be measured.
fn program() -> PathBuf {
    match option_env!("CARGO_BIN_EXE_openshell-gateway") {
        Some(program) => program.into(),
        None => {
            PathBuf::from(std::env::var_os("OPENSHELL_BIN_DIR").expect("OPENSHELL_BIN_DIR")).join("openshell-gateway")
        }
    }
}

impl Terms {
    /// On this database.
    pub fn new(database: String) -> Self {
        Self { database: Some(database), ..Self::alone() }
    }

    /// Each by itself.
    pub fn alone() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("passphrase"), "correct horse battery\n").unwrap();
        // In the place of a supervisor's process: what it would do, a task of the test does.
        let program = dir.path().join("supervisor");
        std::fs::write(&program, "#!/bin/sh\nexec sleep 600\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self { dir, database: None }
    }

    /// The database.
    pub fn database(&self) -> &str {
        self.database.as_deref().expect("they share one")
    }

    /// The command that starts the gateway of this name.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program());
        let at = |name: &str| self.dir.path().join(name);
        command.arg("run").arg("--state-dir").arg(at(name)).arg("--supervisor").arg(at("supervisor"));
        command.args(["--runtime", "process", "--start-timeout", "20"]);
        command.envs(self.database.iter().map(|url| ("OPENSHELL_DATABASE", url)));
        command.env("OPENSHELL_LOG", "info,sqlx=warn").stdin(Stdio::null());
        command
    }

    /// The same, with the passphrase that all of them share.
    pub fn shared(&self, name: &str) -> Command {
        let mut command = self.command(name);
        if self.database.is_some() {
            command.arg("--passphrase-file").arg(self.dir.path().join("passphrase"));
        }
        command
    }

    /// A file beside their state directories.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the gateway of this name and waits until it answers.
    pub async fn start(&self, name: &str) -> Gateway {
        let state = self.path(name);
        let log = std::fs::File::create(self.path(&format!("{name}.log"))).unwrap();
        let _ = std::fs::remove_file(state.join("endpoint.json"));
        let child = self.shared(name).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let endpoint = async {
            loop {
                if let Ok(text) = std::fs::read(state.join("endpoint.json")) {
                    return serde_json::from_slice::<Value>(&text).unwrap();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let log = || std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
        let endpoint = tokio::time::timeout(Duration::from_secs(60), endpoint);
        let endpoint = endpoint.await.unwrap_or_else(|_| panic!("{name} does not answer: {}", log()));
        let file = |key: &str| std::fs::read(endpoint[key].as_str().unwrap()).unwrap();
        let http = client(&file("ca"));
        let token = String::from_utf8(file("token_file")).unwrap();
        Gateway { child: Some(child), state, url: endpoint["url"].as_str().unwrap().to_owned(), http, token }
    }
}

/// A client that trusts this CA and no other.
pub fn client(ca: &[u8]) -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ca = reqwest::Certificate::from_pem(ca).unwrap();
    reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build().unwrap()
}

impl Gateway {
    /// Its CA, as its file says.
    pub fn ca(&self) -> Vec<u8> {
        std::fs::read(self.state.join("ca.pem")).unwrap()
    }

    /// Is asked by whoever trusts its CA of now.
    pub fn trusted_anew(&mut self) {
        self.http = client(&self.ca());
    }

    /// Holds the process up, or lets it go on.
    pub fn frozen(&self, frozen: bool) {
        let signal = if frozen { nix::sys::signal::Signal::SIGSTOP } else { nix::sys::signal::Signal::SIGCONT };
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid() as i32), signal).unwrap();
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Its state directory.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The administrator's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    /// `None`: it is not there.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Option<Answer> {
        let request = self.request(method, path);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        Answer::to(request).await.ok()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await.expect("it is there")
    }

    /// Every item of a list, page by page.
    pub async fn items(&self, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let mut page = self.get(&format!("{path}?limit=1000{cursor}")).await.ok();
            items.append(page["items"].as_array_mut().unwrap());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(body)).await.expect("it is there")
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, None).await.expect("it is there")
    }

    /// Makes a sandbox on its machine, and answers its supervisor, which goes wherever there is a gateway.
    pub async fn sandbox(&self, name: &str) -> Supervisor {
        let path = self.state.join("sandboxes");
        let known = |path: &Path| -> Vec<PathBuf> {
            std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
        };
        let before = known(&path);
        launched(self.post("/v1/sandboxes", json!({ "name": name })), || {
            let new = known(&path).into_iter().find(|one| !before.contains(one))?;
            let spec = std::fs::read(new.join("launch.json")).ok()?;
            Some(serde_json::from_slice(&spec).unwrap())
        })
        .await
    }

    /// Pushes `rules` that allow one host; `None`: it went away meanwhile.
    pub async fn push(&self, sandboxes: &[&str], host: &str) -> Option<Answer> {
        let modules = self.ask(Method::GET, "/v1/modules", None).await?.body;
        let rules = modules["items"].as_array()?.iter().find(|module| module["name"] == "rules")?.clone();
        let body = json!({ "sandboxes": sandboxes, "module": rules["digest"], "settings": crate::world::allow(host) });
        self.ask(Method::POST, "/v1/pushes", Some(body)).await
    }

    /// Waits until a JSON value looks as wanted.
    pub async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let look = async {
            loop {
                match self.ask(Method::GET, path, None).await {
                    Some(found) if wanted(&found.body) => return found.body,
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), look).await.unwrap_or_else(|_| panic!("{path} never looks so"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // What stands for supervisors lives on otherwise.
        for entry in std::fs::read_dir(self.state.join("sandboxes")).into_iter().flatten().flatten() {
            let process = std::fs::read(entry.path().join("process.json")).ok();
            let process: Option<Value> = process.and_then(|text| serde_json::from_slice(&text).ok());
            if let Some(pid) = process.and_then(|process| process["pid"].as_i64()) {
                let pid = nix::unistd::Pid::from_raw(pid as i32);
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
        self.kill();
    }
}

/// The supervisor that a call has started, once there is a `launch` for it; it goes wherever there is a gateway.
pub async fn launched(call: impl Future<Output = Answer>, launch: impl Fn() -> Option<LaunchSpec>) -> Supervisor {
    let linking = async {
        loop {
            if let Some(spec) = launch() {
                let supervisor = Supervisor::new(spec);
                supervisor.roam();
                return supervisor;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (done, supervisor) = tokio::join!(call, linking);
    done.ok();
    supervisor
}
