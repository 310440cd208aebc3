//! Bakes a component with its settings and compiles it.

use ed25519_dalek::SigningKey;

use crate::artifact::{ArtifactError, Expectation, Manifest};
use crate::author::CheckError;
use crate::failure::Failure;

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

/// Bakes and compiles modules. One per process is enough; it may be shared by threads.
pub struct Compiler {}

impl Compiler {
    /// Starts the compiler.
    pub fn new() -> Result<Self, CompileError> {
        Err(CompileError::Engine { detail: "not built yet".to_owned() })
    }

    /// The JSON Schema of a module's settings.
    pub fn schema(&self, component: &[u8]) -> Result<serde_json::Value, CompileError> {
        let _ = component;
        Err(CompileError::Engine { detail: "not built yet".to_owned() })
    }

    /// Check, validate the settings, configure, warm up with the module's examples, snapshot, compile, sign.
    pub fn compile(
        &self,
        component: &[u8],
        name: &str,
        version: &str,
        settings: &serde_json::Value,
        key: &SigningKey,
    ) -> Result<Compiled, CompileError> {
        let _ = (component, name, version, settings, key);
        Err(CompileError::Engine { detail: "not built yet".to_owned() })
    }
}
