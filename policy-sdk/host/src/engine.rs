//! The engine that policies run in.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::artifact::{Artifact, CONTRACT};
use crate::counters::Counters;
use crate::failure::Failure;
use crate::memo::Memo;
use crate::policy::Policy;
use crate::session::{Hooks, Program};
use crate::state::{self, IMPORTS, MAX_TABLE};
use crate::ticker::Ticker;
use crate::{code, config};

/// Tables that a typical component has: its module's, and those of the shims of its imports.
const TABLES: u32 = 4;
/// Core instances that a component may have: Python's is one for each of its shared libraries, 38 in all.
const MAX_CORE_INSTANCES: u32 = 64;
/// Tables that a component may have.
const MAX_TABLES: u32 = 16;
/// Slots that keep their memory mapped while unused. They are shared out among up to four groups of threads, and a module that
/// finds none of its own in its group costs a mapping: with 16 a chain of ten modules took 812 µs, and one of three 37 µs.
const WARM_SLOTS: u32 = 64;

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
        Self { instances: 256, max_memory_bytes: 64 << 20, keep_resident_bytes: 512 << 10 }
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

/// What every policy of an engine shares.
pub(crate) struct Shared {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) ticker: Ticker,
}

/// Runs policies. Cheap to clone; one per process is enough. It owns one thread, which sleeps while nothing is decided.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    max_memory_bytes: usize,
}

impl Engine {
    /// Starts an engine. It reserves address space and next to no memory.
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let start = |error: wasmtime::Error| EngineError::Start { detail: format!("{error:#}") };
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(options.instances)
            .total_core_instances(options.instances.saturating_mul(MAX_CORE_INSTANCES))
            .total_memories(options.instances)
            .total_tables(options.instances.saturating_mul(TABLES))
            .max_core_instances_per_component(MAX_CORE_INSTANCES)
            .max_memories_per_component(1)
            .max_tables_per_component(MAX_TABLES)
            .max_tables_per_module(2)
            .table_elements(MAX_TABLE)
            .max_memory_size(options.max_memory_bytes)
            .max_unused_warm_slots(WARM_SLOTS)
            .linear_memory_keep_resident(options.keep_resident_bytes)
            .table_keep_resident(4096)
            .pagemap_scan(Enabled::No);
        let mut config = config::shared().map_err(start)?;
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = wasmtime::Engine::new(&config).map_err(start)?;
        let ticker = Ticker::start(&engine).map_err(|error| EngineError::Start { detail: error.to_string() })?;
        Ok(Self { shared: Arc::new(Shared { engine, ticker }), max_memory_bytes: options.max_memory_bytes })
    }

    /// Loads a policy, linking nothing but what it is granted. Refuses what was compiled for another engine, imports
    /// anything else, or can't be instantiated within its limits.
    pub fn load(&self, artifact: &Artifact, options: LoadOptions) -> Result<Policy, LoadError> {
        let manifest = artifact.manifest();
        if manifest.contract != CONTRACT {
            return Err(LoadError::Contract { expected: CONTRACT.to_owned(), found: manifest.contract.clone() });
        }
        let expected = config::compatibility();
        if manifest.compatibility != expected {
            return Err(LoadError::Incompatible { expected, found: manifest.compatibility.clone() });
        }
        let engine = &self.shared.engine;
        let refused = |error: wasmtime::Error| LoadError::Engine { detail: format!("{error:#}") };
        let component = code::map(engine, artifact).map_err(refused)?;
        grant(component.component_type().imports(engine).map(|(name, _)| name), &options.granted_imports)?;

        let mut linker = Linker::new(engine);
        state::link(&mut linker, options.granted_imports.iter().map(String::as_str)).map_err(refused)?;
        let pre = linker.instantiate_pre(&component).map_err(refused)?;
        let mut hooks = Hooks::default();
        for hook in &manifest.hooks {
            Hooks::find(&pre, *hook, &mut hooks).map_err(|_| LoadError::Hook { hook: hook.to_string() })?;
        }
        let program = Program {
            engine: Arc::clone(&self.shared),
            pre,
            hooks,
            binding: options.binding.as_str().into(),
            log: options.log,
            deadline: options.deadline,
            memory_bytes: options.memory_bytes.min(self.max_memory_bytes),
            reuse: options.reuse,
            kept: Mutex::default(),
        };
        program.try_out(&options.counters).map_err(|failure| match failure {
            Failure::Memory { limit_bytes } => LoadError::Memory { limit_bytes },
            other => LoadError::Engine { detail: other.to_string() },
        })?;
        let remembers = manifest.pure_verdicts && options.reuse <= 1 && options.memo_bytes > 0;
        let memo = remembers.then(|| Memo::new(options.memo_bytes));
        Ok(Policy::new(manifest.clone(), program, options.counters, memo, options.quarantine))
    }
}

/// Refuses an import that is not of the contract, or not granted.
fn grant<'a>(imports: impl Iterator<Item = &'a str>, granted: &[String]) -> Result<(), LoadError> {
    for import in imports {
        match short_name(import) {
            Some("types") => {}
            Some(name) if !IMPORTS.contains(&name) => {
                return Err(LoadError::Forbidden { import: import.to_owned() });
            }
            Some(name) if granted.iter().any(|granted| granted == name) => {}
            Some(name) => return Err(LoadError::NotGranted { import: name.to_owned() }),
            None => return Err(LoadError::Forbidden { import: import.to_owned() }),
        }
    }
    Ok(())
}

/// `view` of `openshell:policy/view@0.1.0`.
pub(crate) fn short_name(import: &str) -> Option<&str> {
    import.strip_prefix("openshell:policy/")?.strip_suffix("@0.1.0")
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("max_memory_bytes", &self.max_memory_bytes).finish_non_exhaustive()
    }
}
