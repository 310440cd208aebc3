//! Bakes a component with its settings and compiles it.

use std::path::Path;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use wasmtime::OptLevel;

use crate::artifact::{ArtifactError, Expectation, Manifest, digest, seal};
use crate::author::bake::{self, Oven};
use crate::author::packs::Packs;
use crate::author::remembered::{self, Functions, Modules};
use crate::author::{CheckError, check};
use crate::config;
use crate::engine::Shared;
use crate::failure::Failure;
use crate::ticker::Ticker;

/// Why a module was not baked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BakeError {
    /// Its JSON Schema is none.
    #[error("module's settings schema is not valid: {detail}")]
    Schema {
        /// What is wrong with it.
        detail: String,
    },
    /// The settings don't fit the module's schema.
    #[error("settings{at}: {detail}")]
    Settings {
        /// JSON pointer into the settings; empty: all of them.
        at: String,
        /// What is wrong there.
        detail: String,
    },
    /// The module refused the settings.
    #[error("module refuses the settings: {words}")]
    Refused {
        /// Its words.
        words: String,
    },
    /// `configure` did not come back with an answer.
    #[error("`configure` failed: {0}")]
    Configure(Failure),
    /// What `configure` answered can't be used.
    #[error("module's setup is not valid: {detail}")]
    Setup {
        /// What is wrong with it.
        detail: String,
    },
    /// One of its examples gets another answer than it expects.
    #[error("example {index}: expected {expected}, got {found}")]
    Example {
        /// Position among the examples, from 0.
        index: usize,
        /// What its author expects.
        expected: Expectation,
        /// What it said.
        found: Expectation,
    },
    /// One of its examples gets no answer.
    #[error("example {index}: {failure}")]
    ExampleFailed {
        /// Position among the examples, from 0.
        index: usize,
        /// Why.
        failure: Failure,
    },
    /// It can't be snapshotted.
    #[error("module can't be snapshotted: {detail}")]
    Snapshot {
        /// Why.
        detail: String,
    },
    /// The Wasm engine refused it.
    #[error("module could not be instantiated: {detail}")]
    Instantiate {
        /// The engine's words.
        detail: String,
    },
}

/// Why a module was not compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// It is no policy.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// It could not be baked.
    #[error(transparent)]
    Bake(#[from] BakeError),
    /// The compiler refused it, or could not start.
    #[error("module could not be compiled: {detail}")]
    Engine {
        /// Its words.
        detail: String,
    },
    /// The artifact could not be put together.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

/// A signed artifact.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// `sha256:<hex>` of them.
    pub digest: String,
    /// What it says about itself.
    pub manifest: Manifest,
}

/// Bakes and compiles modules. One per process is enough; threads may share it. Its methods take from milliseconds to
/// seconds of processor time: call them where blocking is fine.
pub struct Compiler {
    /// Runs a module once; compiled quickly.
    oven: Oven,
    /// Compiles what sandboxes run, for the plainest processor of this architecture, so that it runs on every one.
    ahead: wasmtime::Engine,
    /// What that one has compiled.
    functions: Option<Arc<Functions>>,
}

impl Compiler {
    /// Starts the compiler.
    pub fn new() -> Result<Self, CompileError> {
        Self::with(None, None)
    }

    /// Starts one that keeps what it compiled for a while, where the same modules come again with other settings: some 50 MiB in memory, and
    /// up to 256 MiB in `directory`, for other processes. That is made if absent (mode 0700); it holds machine code that is run and signed, so
    /// one that others may write is not used, with a warning.
    pub fn remembering(directory: Option<&Path>) -> Result<Self, CompileError> {
        let packs = directory.and_then(|directory| {
            let refused = |error: &std::io::Error| tracing::warn!(path = %directory.display(), %error, "what is compiled is not kept there");
            Packs::open(directory).inspect_err(refused).ok().map(Arc::new)
        });
        let kept = |kind| Some(Arc::new(Functions::new(kind, packs.clone())));
        Self::with(kept("bake"), kept("ahead"))
    }

    fn with(quickly: Option<Arc<Functions>>, functions: Option<Arc<Functions>>) -> Result<Self, CompileError> {
        let mut config = config::shared().map_err(engine)?;
        config.cranelift_opt_level(OptLevel::None);
        let bake = starts(config, quickly.as_ref())?;
        let ticker = Ticker::start(&bake).map_err(|error| CompileError::Engine { detail: error.to_string() })?;
        let oven =
            Oven { engine: Arc::new(Shared { engine: bake, ticker }), functions: quickly, modules: Modules::new() };

        let mut config = config::shared().map_err(engine)?;
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        config.cranelift_opt_level(OptLevel::Speed).target(&target).map_err(engine)?;
        let ahead = starts(config, functions.as_ref())?;
        Ok(Self { oven, ahead, functions })
    }

    /// What its artifacts are compiled for; one that says otherwise does not load and is to be compiled again.
    pub fn compatibility(&self) -> String {
        config::compatibility()
    }

    /// The JSON Schema of a module's settings.
    pub fn schema(&self, component: &[u8]) -> Result<serde_json::Value, CompileError> {
        let checked = check(component)?;
        Ok(bake::schema(&self.oven, component, &checked)?)
    }

    /// Checks a module, validates the settings against its schema, configures it, warms it up with its own examples,
    /// snapshots it, compiles the snapshot and signs the result. Refuses a module that refuses the settings, does not
    /// come back, or gives an example another answer than it expects.
    pub fn compile(
        &self,
        component: &[u8],
        name: &str,
        version: &str,
        settings: &serde_json::Value,
        key: &SigningKey,
    ) -> Result<Compiled, CompileError> {
        let checked = check(component)?;
        let baked = bake::bake(&self.oven, component, &checked, settings)?;
        let compile = || self.ahead.precompile_component(&baked.component);
        let code = remembered::with(self.functions.as_deref(), &checked.digest, compile).map_err(engine)?;
        let manifest = Manifest {
            name: name.to_owned(),
            version: version.to_owned(),
            module: checked.digest,
            contract: checked.contract,
            hooks: checked.hooks,
            imports: checked.imports,
            pure_verdicts: checked.pure_verdicts,
            body_cap: baked.body_cap,
            settings_digest: digest(settings.to_string().as_bytes()),
            examples: baked.examples,
            compatibility: config::compatibility(),
        };
        let bytes = seal(&manifest, &code, key)?;
        let digest = digest(&bytes);
        Ok(Compiled { bytes, digest, manifest })
    }
}

fn starts(mut config: wasmtime::Config, functions: Option<&Arc<Functions>>) -> Result<wasmtime::Engine, CompileError> {
    if let Some(functions) = functions {
        config.enable_incremental_compilation(functions.clone()).map_err(engine)?;
    }
    wasmtime::Engine::new(&config).map_err(engine)
}

fn engine(error: wasmtime::Error) -> CompileError {
    CompileError::Engine { detail: format!("{error:#}") }
}

impl std::fmt::Debug for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiler").finish_non_exhaustive()
    }
}
