//! Small policies in WAT, and a world to ask them in.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use openshell_policy_host::*;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const PRELUDE: &str = include_str!("../hostile/prelude.wat");
const CONFIGURE: &str = include_str!("../hostile/default-configure.wat");
const CONNECT: &str = include_str!("../hostile/connect.wat");
const REQUEST: &str = include_str!("../hostile/request.wat");

pub static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new(EngineOptions::default()).unwrap());
pub static COMPILER: LazyLock<Compiler> = LazyLock::new(|| Compiler::new().unwrap());

pub fn key() -> SigningKey {
    SigningKey::from_bytes(&[42; 32])
}

/// Reads `tests/hostile/<name>.wat`.
pub fn hostile(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile").join(name).with_extension("wat");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A component with the hooks `connect`, `request` or both, around a fragment of WAT that defines `$decide`.
pub fn component(fragment: &str, hooks: &[Hook]) -> Vec<u8> {
    let mut text = format!("(module {fragment}\n{PRELUDE}\n");
    let mut world = "package test:fragment; world w { \
        import openshell:policy/view@0.1.0; import openshell:policy/log@0.1.0; \
        import openshell:policy/clock@0.1.0; import openshell:policy/counters@0.1.0; \
        export openshell:policy/configure@0.1.0;"
        .to_owned();
    if !fragment.contains("(func $configure") {
        text += CONFIGURE;
    }
    for hook in hooks {
        text += match hook {
            Hook::Connect => CONNECT,
            Hook::Request => REQUEST,
            other => panic!("no {other} in these tests"),
        };
        world += &format!(" export openshell:policy/{hook}@0.1.0;");
    }
    text += ")";
    world += "}";

    let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"));
    let mut resolve = Resolve::default();
    resolve.push_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")).unwrap();
    let package = resolve.push_str("w.wit", &world).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

pub fn compile(component: &[u8]) -> Result<Compiled, CompileError> {
    COMPILER.compile(component, "demo", "1.0.0", &serde_json::json!({}), &key())
}

pub fn artifact(compiled: &Compiled) -> Artifact {
    Artifact::open(&compiled.bytes, &compiled.digest, &key().verifying_key()).unwrap()
}

/// Options with every import granted and time enough for a busy machine.
pub fn options(binding: &str) -> LoadOptions {
    LoadOptions {
        deadline: Duration::from_secs(20),
        log: Arc::new(NoLog),
        ..LoadOptions::new(binding, ["view", "log", "clock", "counters"])
    }
}

pub fn load(fragment: &str, hooks: &[Hook], options: LoadOptions) -> Policy {
    let compiled = compile(&component(fragment, hooks)).unwrap();
    ENGINE.load(&artifact(&compiled), options).unwrap()
}

pub fn connection(host: &str) -> Connection {
    Connection {
        sandbox: "demo".to_owned(),
        process: Process { executable: "/usr/bin/curl".to_owned(), ..Process::default() },
        host: host.to_owned(),
        port: 443,
        capture: Capture::Tunnel,
    }
}

pub fn get(path: &str) -> HttpRequest {
    HttpRequest { method: "GET".to_owned(), scheme: Scheme::Https, path: path.to_owned(), query: None }
}

pub fn nothing() -> Arc<dyn View> {
    Arc::new(NoView)
}

/// A view with a few things in it.
#[derive(Default)]
pub struct Seen {
    pub header: Option<String>,
    pub body: Option<Bytes>,
    pub label: Option<String>,
}

impl View for Seen {
    fn header(&self, _name: &str) -> Option<String> {
        self.header.clone()
    }
    fn headers(&self) -> Vec<u8> {
        Vec::new()
    }
    fn body(&self) -> Option<Bytes> {
        self.body.clone()
    }
    fn arguments(&self) -> Vec<String> {
        Vec::new()
    }
    fn ancestors(&self) -> Vec<String> {
        Vec::new()
    }
    fn label(&self, _name: &str) -> Option<String> {
        self.label.clone()
    }
}

/// Keeps what it is told.
#[derive(Default)]
pub struct Lines(pub Mutex<Vec<String>>);

impl LogSink for Lines {
    fn emit(&self, policy: &str, level: LogLevel, message: &str) {
        self.0.lock().unwrap().push(format!("{policy} {level:?} {message}"));
    }
}

/// `allow`, `deny <reason>`, `abstain` or the failure's kind.
pub fn show(answer: &Answer<Verdict>) -> String {
    match &answer.result {
        Ok(Verdict::Allow(_)) => "allow".to_owned(),
        Ok(Verdict::Deny(denial)) => format!("deny {}", denial.reason),
        Ok(Verdict::Abstain) => "abstain".to_owned(),
        Err(failure) => failure.kind().to_owned(),
    }
}
