//! What was compiled before. Settings change what a module holds, and seldom one of its functions: a push of other settings compiles
//! little anew, and a process that begins goes on with what another one has left.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use wasmtime::CacheStore;
use wasmtime::component::Component;

use super::packs::{Pack, Packs};

/// Most memory for compiled functions, in bytes: those of a few modules.
const FUNCTIONS: u64 = 24 << 20;
/// A module whose functions take more, in bytes, loses those that its settings no longer need.
const MODULE: usize = 12 << 20;
/// What is new is kept where it is more than this share of a module's functions. Cranelift gives some, one in twenty, another hash each time.
const WORTH_KEEPING: usize = 4;
/// Most modules that are kept ready to be configured.
const MODULES: u64 = 3;
/// What nobody asked for so long goes.
const IDLE: Duration = Duration::from_secs(15 * 60);

/// Compiled functions, for one engine: by the hash that Cranelift makes of a function and of all that its code depends on.
pub(crate) struct Functions {
    kind: &'static str,
    packs: Option<Arc<Packs>>,
    /// By module.
    known: Cache<String, Arc<Pack>, ahash::RandomState>,
    at_work: Mutex<Option<AtWork>>,
    alone: Mutex<()>,
}

/// The module that is being compiled.
struct AtWork {
    known: Arc<Pack>,
    used: HashMap<Box<[u8]>, Arc<[u8]>, ahash::RandomState>,
    fresh: usize,
}

impl Functions {
    /// `kind` names the engine among those that share the directory.
    pub(crate) fn new(kind: &'static str, packs: Option<Arc<Packs>>) -> Self {
        let weight = |_: &String, pack: &Arc<Pack>| u32::try_from(pack.bytes()).unwrap_or(u32::MAX);
        let known = Cache::builder().max_capacity(FUNCTIONS).weigher(weight).time_to_idle(IDLE);
        Self {
            kind,
            packs,
            known: known.build_with_hasher(ahash::RandomState::default()),
            at_work: Mutex::default(),
            alone: Mutex::default(),
        }
    }

    /// Compiles a module with what is known of it, and keeps what is new. One at a time.
    pub(crate) fn with<T>(&self, module: &str, compile: impl FnOnce() -> T) -> T {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("{} {module}", self.kind);
        let known =
            self.known.get(module).or_else(|| self.packs.as_ref()?.read(&name).map(Arc::new)).unwrap_or_default();
        *self.at_work() = Some(AtWork { known, used: HashMap::default(), fresh: 0 });
        let compiled = compile();
        let Some(AtWork { known, mut used, fresh }) = self.at_work().take() else { return compiled };
        if fresh * WORTH_KEEPING <= used.len() {
            self.known.insert(module.to_owned(), known);
            return compiled;
        }
        let room = MODULE.saturating_sub(used.iter().map(|(key, code)| key.len() + code.len()).sum());
        if known.bytes() <= room {
            for (key, code) in known.functions() {
                used.entry(key.clone()).or_insert_with(|| code.clone());
            }
        }
        let pack = Arc::new(Pack::new(used));
        if let Some(packs) = &self.packs {
            packs.write(&name, &pack);
        }
        self.known.insert(module.to_owned(), pack);
        compiled
    }

    fn at_work(&self) -> MutexGuard<'_, Option<AtWork>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compiles a module, with what is known of it where something is kept.
pub(crate) fn with<T>(functions: Option<&Functions>, module: &str, compile: impl FnOnce() -> T) -> T {
    match functions {
        Some(functions) => functions.with(module, compile),
        None => compile(),
    }
}

impl CacheStore for Functions {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let mut at_work = self.at_work();
        let AtWork { known, used, .. } = at_work.as_mut()?;
        let code = known.get(key)?;
        used.insert(key.into(), code.clone());
        drop(at_work);
        Some(Cow::Owned(code.to_vec()))
    }

    fn insert(&self, key: &[u8], code: Vec<u8>) -> bool {
        let mut at_work = self.at_work();
        let Some(at_work) = at_work.as_mut() else { return false };
        at_work.used.insert(key.into(), code.into());
        at_work.fresh += 1;
        true
    }
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Functions").field("kind", &self.kind).field("modules", &self.known.entry_count()).finish()
    }
}

/// Modules that were compiled to be configured, by their digest.
pub(crate) struct Modules(Cache<String, Component, ahash::RandomState>);

impl Modules {
    pub(crate) fn new() -> Self {
        let cache = Cache::builder().max_capacity(MODULES).time_to_idle(IDLE);
        Self(cache.build_with_hasher(ahash::RandomState::default()))
    }

    /// The module of this digest, compiled by `compile` unless it is here. Who asks for one that is being compiled waits for it.
    pub(crate) fn get(
        &self,
        digest: &str,
        compile: impl FnOnce() -> Result<Component, wasmtime::Error>,
    ) -> Result<Component, Arc<wasmtime::Error>> {
        self.0.try_get_with_by_ref(digest, compile)
    }
}
