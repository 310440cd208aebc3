//! The engine that policies run in.

use std::sync::Arc;
use std::time::Duration;

use crate::artifact::Artifact;
use crate::counters::Counters;
use crate::policy::Policy;

/// How an engine is made.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Decisions that may run at once, counting instances kept by `reuse`.
    pub instances: u32,
    /// Most memory one instance can have, in bytes.
    pub max_memory_bytes: usize,
    /// Memory that stays mapped for the next instance, in bytes.
    pub keep_resident_bytes: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { instances: 256, max_memory_bytes: 64 << 20, keep_resident_bytes: 128 << 10 }
    }
}

/// Why there is no engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The Wasm engine refused its configuration, or the system refused it memory.
    #[error("the policy engine could not start: {detail}")]
    Start {
        /// The engine's words.
        detail: String,
    },
}

/// Why a policy was not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It was compiled for another engine or another kind of machine.
    #[error("policy was compiled for `{found}`; this engine runs `{expected}`")]
    Incompatible {
        /// What this engine runs.
        expected: String,
        /// What it was compiled for.
        found: String,
    },
    /// It speaks another contract.
    #[error("policy speaks contract `{found}`; this engine speaks `{expected}`")]
    Contract {
        /// What this engine speaks.
        expected: String,
        /// What it speaks.
        found: String,
    },
    /// It imports what its binding does not grant.
    #[error("policy imports `{import}`, which its binding does not grant")]
    NotGranted {
        /// The interface.
        import: String,
    },
    /// It imports what no policy may.
    #[error("policy imports `{import}`, which no policy may")]
    Forbidden {
        /// The import.
        import: String,
    },
    /// It has not the hooks that its manifest states.
    #[error("policy states the hook `{hook}` and does not export it")]
    Hook {
        /// The interface.
        hook: String,
    },
    /// It wants more memory than it may have before it has even started.
    #[error("policy needs more than {limit_bytes} bytes of memory to start")]
    Memory {
        /// What it may have.
        limit_bytes: u64,
    },
    /// The Wasm engine refused it.
    #[error("policy could not be loaded: {detail}")]
    Engine {
        /// The engine's words.
        detail: String,
    },
}

/// How much a policy's log lines matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// For its author.
    Debug,
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warn,
    /// Wrong.
    Error,
}

/// Where policies' log lines go.
pub trait LogSink: Send + Sync {
    /// One line of the policy bound as `policy`.
    fn emit(&self, policy: &str, level: LogLevel, message: &str);
}

/// A sink that forgets.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLog;

impl LogSink for NoLog {
    fn emit(&self, _policy: &str, _level: LogLevel, _message: &str) {}
}

/// A sink that hands lines to `tracing`, target `policy`.
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingLog;

impl LogSink for TracingLog {
    fn emit(&self, policy: &str, level: LogLevel, message: &str) {
        match level {
            LogLevel::Debug => tracing::debug!(target: "policy", policy, "{message}"),
            LogLevel::Info => tracing::info!(target: "policy", policy, "{message}"),
            LogLevel::Warn => tracing::warn!(target: "policy", policy, "{message}"),
            LogLevel::Error => tracing::error!(target: "policy", policy, "{message}"),
        }
    }
}

/// When a failing policy is no longer asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quarantine {
    /// Failures in a row.
    pub after: u32,
    /// How long it is not asked; then one question decides. Doubles each time that fails, up to 32 times this.
    pub cooldown: Duration,
}

impl Default for Quarantine {
    fn default() -> Self {
        Self { after: 5, cooldown: Duration::from_secs(5) }
    }
}

/// How a policy is bound.
#[derive(Clone)]
pub struct LoadOptions {
    /// Its name in the chain.
    pub binding: String,
    /// Interfaces it may import: `view`, `log`, `clock`, `counters`.
    pub granted_imports: Vec<String>,
    /// Questions one instance answers; 0 and 1: each question gets a fresh one.
    pub reuse: u32,
    /// Time for one answer. Enforced to a few milliseconds.
    pub deadline: Duration,
    /// Memory one instance may have, in bytes.
    pub memory_bytes: usize,
    /// Memory for remembered verdicts, in bytes; 0: none. Only pure policies in fresh instances are remembered.
    pub memo_bytes: u64,
    /// When it is no longer asked.
    pub quarantine: Quarantine,
    /// The sandbox's counters.
    pub counters: Arc<Counters>,
    /// Where its log lines go.
    pub log: Arc<dyn LogSink>,
}

impl LoadOptions {
    /// A fresh instance per question, 100 ms, 16 MiB, 4 MiB of remembered verdicts, counters of its own, logs to
    /// `tracing`.
    pub fn new(binding: impl Into<String>, granted_imports: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            binding: binding.into(),
            granted_imports: granted_imports.into_iter().map(Into::into).collect(),
            reuse: 0,
            deadline: Duration::from_millis(100),
            memory_bytes: 16 << 20,
            memo_bytes: 4 << 20,
            quarantine: Quarantine::default(),
            counters: Arc::default(),
            log: Arc::new(TracingLog),
        }
    }
}

/// Runs policies. Cheap to clone; one per process is enough.
#[derive(Clone)]
pub struct Engine {}

impl Engine {
    /// Starts an engine. It reserves address space and next to no memory.
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let _ = options;
        Err(EngineError::Start { detail: "not built yet".to_owned() })
    }

    /// Loads a policy, linking nothing but what it is granted. Refuses what was compiled for another engine, imports
    /// anything else, or can't be instantiated within its limits.
    pub fn load(&self, artifact: &Artifact, options: LoadOptions) -> Result<Policy, LoadError> {
        let _ = (artifact, options);
        Err(LoadError::Engine { detail: "not built yet".to_owned() })
    }
}
