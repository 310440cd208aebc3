//! The real engine on the author's machine: a component and its settings, baked, compiled and loaded as a sandbox would.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use openshell_policy_host::{
    Artifact, CompileError, Compiled, Compiler, Counters, Engine, EngineOptions, LoadOptions, Manifest, NoLog, Policy,
    Quarantine, SigningKey,
};

use crate::error::Error;
use crate::paths;

/// Time for one answer: enough for a busy machine, and an end for a policy that never comes back.
const DEADLINE: Duration = Duration::from_secs(2);

/// Compiles and loads policies for this process alone: its key signs nothing that leaves.
pub struct Workbench {
    compiler: Compiler,
    engine: Engine,
    key: SigningKey,
}

/// A compiler that goes on with what the last command has left.
pub fn compiler() -> Result<Compiler, CompileError> {
    Compiler::remembering(paths::compile_cache().as_deref())
}

/// How a policy is loaded here.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Its name in the chain.
    pub binding: String,
    /// Decisions an instance may serve.
    pub reuse: u32,
    /// Memory for remembered verdicts, in bytes; 0: none.
    pub memo_bytes: u64,
}

impl Default for Terms {
    fn default() -> Self {
        Self { binding: "candidate".into(), reuse: 0, memo_bytes: 0 }
    }
}

/// A baked and compiled component.
#[derive(Debug)]
pub struct Baked {
    compiled: Compiled,
}

impl Baked {
    /// What it says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.compiled.manifest
    }
}

impl Workbench {
    /// Starts compiler and engine.
    pub fn new() -> Result<Self, Error> {
        static KEY: LazyLock<[u8; 32]> = LazyLock::new(|| {
            let mut bytes = [0; 32];
            // Nothing depends on its strength: what it signs is loaded by this very process and thrown away.
            bytes[..4].copy_from_slice(&std::process::id().to_le_bytes());
            bytes
        });
        let compiler = compiler().map_err(workbench)?;
        let engine = Engine::new(EngineOptions::default()).map_err(workbench)?;
        Ok(Self { compiler, engine, key: SigningKey::from_bytes(&KEY) })
    }

    /// Bakes and compiles. Blocks for up to seconds.
    pub fn bake(&self, component: &[u8], name: &str, settings: &serde_json::Value) -> Result<Baked, Error> {
        let nothing = serde_json::Value::Object(serde_json::Map::new());
        let settings = if settings.is_null() { &nothing } else { settings };
        let compiled = self.compiler.compile(component, name, "0.0.0", settings, &self.key);
        Ok(Baked { compiled: compiled.map_err(|reason| Error::NotCompiled { reason })? })
    }

    /// Loads it, with counters of its own and every import it asks for.
    pub fn load(&self, baked: &Baked, terms: &Terms) -> Result<Policy, Error> {
        let Compiled { bytes, digest, manifest } = &baked.compiled;
        let artifact = Artifact::open(bytes, digest, &self.key.verifying_key()).map_err(workbench)?;
        let options = LoadOptions {
            reuse: terms.reuse,
            memo_bytes: terms.memo_bytes,
            deadline: DEADLINE,
            counters: Arc::new(Counters::new()),
            log: Arc::new(NoLog),
            quarantine: Quarantine { after: u32::MAX, ..Quarantine::default() },
            ..LoadOptions::new(&terms.binding, &manifest.imports)
        };
        self.engine.load(&artifact, options).map_err(workbench)
    }
}

impl std::fmt::Debug for Workbench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workbench").finish_non_exhaustive()
    }
}

fn workbench(error: impl std::error::Error) -> Error {
    Error::Workbench { reason: error.to_string() }
}
