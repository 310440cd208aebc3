//! A sandbox's directories, its supervisor's process, and what its gateway signs.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::LazyLock;

use openshell_api::generation::{Content, Generation, SignedGeneration};
use openshell_api::launch::LaunchSpec;
use openshell_api::module::Binding;
use openshell_api::provider::{Attach, CredentialRule};
use openshell_policy_host::{Compiled, Compiler, SigningKey};
use tokio::process::{Child, Command};

use super::gateway::{Gateway, Link};

pub const SANDBOX: &str = "01JD0000000000000000000000";

pub struct World {
    pub gateway: Gateway,
    pub key: SigningKey,
    pub dir: tempfile::TempDir,
    pub command: Vec<String>,
}

/// A supervisor that runs; it is killed with this value.
pub struct Supervisor(pub Child);

impl World {
    /// A sandbox that idles.
    pub async fn new() -> Self {
        Self::running(&[]).await
    }

    /// A sandbox with a workload.
    pub async fn running(command: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::create_dir(dir.path().join("workspace")).expect("a workspace");
        std::fs::set_permissions(dir.path().join("workspace"), open).expect("it is the workload's");
        Self {
            gateway: Gateway::open().await,
            key: SigningKey::from_bytes(&[7; 32]),
            dir,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn spec(&self) -> LaunchSpec {
        LaunchSpec {
            sandbox_id: SANDBOX.to_owned(),
            sandbox: "demo".parse().expect("a name"),
            gateway_url: self.gateway.url.clone(),
            gateway_ca: self.gateway.ca.clone(),
            gateway_ca_epoch: 0,
            token: "the-token".to_owned(),
            verifying_key: hex::encode(self.key.verifying_key().to_bytes()),
            further_keys: vec![],
            state_dir: self.path("state").to_string_lossy().into_owned(),
            workspace: self.path("workspace").to_string_lossy().into_owned(),
            hidden: Vec::new(),
            allow_degraded: false,
            image: None,
            command: self.command.clone(),
            env: [("GREETING".to_owned(), "hello".to_owned())].into(),
            workdir: None,
            labels: [].into(),
            add_hosts: [].into(),
            upstream_ca: None,
            gateway_socket: None,
            own_root: false,
            writable: vec![],
            degraded: vec![],
        }
    }

    /// Starts a supervisor.
    pub fn start(&self) -> Supervisor {
        self.start_as(&self.spec())
    }

    pub fn start_as(&self, spec: &LaunchSpec) -> Supervisor {
        self.start_with(spec, |_| {})
    }

    /// Starts a supervisor after `adjust` had its way with the command.
    pub fn start_with(&self, spec: &LaunchSpec, adjust: impl FnOnce(&mut Command)) -> Supervisor {
        let launch = self.path("launch.json");
        std::fs::write(&launch, serde_json::to_vec(spec).expect("it serializes")).expect("it is written");
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_openshell-supervisor"));
        command.arg("--launch").arg(launch).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        adjust(&mut command);
        Supervisor(command.spawn().expect("the supervisor starts"))
    }

    /// Starts a supervisor and links with it; generation 1, which denies everything, is enforced then.
    pub async fn begin(&self) -> (Supervisor, Link) {
        let supervisor = self.start();
        let mut link = self.gateway.accept().await;
        assert_eq!(link.hello().await, 0);
        assert_eq!(link.stage("first", self.empty(1, "one")).await, "staged");
        assert_eq!(link.activate("first").await, "enforcing 1");
        (supervisor, link)
    }

    pub fn sign(&self, number: u64, content: Content) -> SignedGeneration {
        self.sign_with(&self.key, number, content)
    }

    pub fn sign_with(&self, key: &SigningKey, number: u64, content: Content) -> SignedGeneration {
        let generation = Generation {
            sandbox_id: SANDBOX.to_owned(),
            number,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            cause: "a test".to_owned(),
            content,
        };
        SignedGeneration::sign(&generation, key).expect("it serializes")
    }

    /// A generation without policies; `mark` makes its content different from others.
    pub fn empty(&self, number: u64, mark: &str) -> SignedGeneration {
        let rule = CredentialRule { hosts: vec!["example.com".to_owned()], ..CredentialRule::new(Attach::Bearer) };
        self.sign(number, Content { credentials: [(mark.to_owned(), rule)].into(), ..Content::default() })
    }

    /// What the supervisor said so far, for messages of tests that fail.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Supervisor {
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = self.0.id().and_then(|pid| i32::try_from(pid).ok()).expect("it runs");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("it can be signalled");
    }

    pub async fn end(mut self) -> ExitStatus {
        self.0.wait().await.expect("it can be waited for")
    }
}

/// The built-in `rules` module, compiled with rules that allow GET to one host.
pub fn rules(key: &SigningKey) -> &'static Compiled {
    static COMPILED: LazyLock<Compiled> = LazyLock::new(|| compile(YAML, &SigningKey::from_bytes(&[7; 32])));
    assert_eq!(key.to_bytes(), [7; 32]);
    &COMPILED
}

const YAML: &str = "\
version: 1
network_policies:
  web:
    endpoints:
      - { host: example.com, port: 443, protocol: rest, access: read-only }
    binaries: [{ path: /usr/bin/curl }]
";

/// The built-in `rules` module with this document.
pub fn compile(yaml: &str, key: &SigningKey) -> Compiled {
    let builtin = openshell_bundle::builtin("rules").expect("rules come with OpenShell");
    let compiler = Compiler::new().expect("a compiler");
    let settings = serde_json::json!({ "yaml": yaml });
    compiler.compile(builtin.component, "rules", builtin.version, &settings, key).expect("rules compile")
}

/// A binding of a compiled module.
pub fn binding(name: &str, compiled: &Compiled) -> Binding {
    Binding {
        name: name.parse().expect("a name"),
        version: compiled.manifest.version.clone(),
        module: compiled.manifest.module.clone(),
        artifact: compiled.digest.clone(),
        settings: serde_json::Value::Null,
        reuse: 0,
        deadline_ms: 1000,
        granted_imports: compiled.manifest.imports.clone(),
        publisher: None,
    }
}

/// Whether a sandbox can be sealed here; says so where it can't.
pub fn can_seal() -> bool {
    let root = nix::unistd::geteuid().is_root();
    let namespaces = || std::process::Command::new("unshare").args(["-Urn", "true"]).status();
    let can = root || namespaces().is_ok_and(|status| status.success());
    if !can {
        eprintln!("skipped: neither root nor user namespaces");
    }
    can
}
