//! What lives on after its verdict: tunnels, WebSockets, event streams. Judged again with each new generation.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::judge::{Decide, Enforced, Facts, Lasting};
use super::upstream::lock;

/// All of them.
#[derive(Default)]
pub(super) struct Registry {
    next: AtomicU64,
    live: Mutex<HashMap<u64, Arc<Entry>, ahash::RandomState>>,
}

/// What was allowed, and on which connection.
struct Entry {
    facts: Arc<Facts>,
    lasting: Lasting,
    cut: CancellationToken,
}

/// Keeps an entry registered while it lives.
pub(super) struct Registration {
    registry: Arc<Registry>,
    key: u64,
    cut: CancellationToken,
}

impl Registry {
    /// Registers what was allowed under `generation`. If another one is enforced by now, it is asked at once, so that
    /// nothing slips between a verdict and its registration.
    pub(super) fn register(
        self: &Arc<Self>,
        facts: &Arc<Facts>,
        lasting: Lasting,
        generation: u64,
        enforced: &dyn Enforced,
    ) -> Registration {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let cut = CancellationToken::new();
        let entry = Arc::new(Entry { facts: Arc::clone(facts), lasting, cut: cut.clone() });
        lock(&self.live).insert(key, Arc::clone(&entry));
        let now = enforced.now();
        if now.generation() != generation {
            entry.reevaluate(&*now);
        }
        Registration { registry: Arc::clone(self), key, cut }
    }

    /// Asks the generation about each of them; cuts those it denies and says how many.
    pub(super) fn reevaluate(&self, decide: &dyn Decide) -> u32 {
        let entries: Vec<Arc<Entry>> = lock(&self.live).values().cloned().collect();
        entries.iter().map(|entry| u32::from(entry.reevaluate(decide))).sum()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        lock(&self.live).len()
    }
}

impl Entry {
    /// True if this cut it.
    fn reevaluate(&self, decide: &dyn Decide) -> bool {
        if self.cut.is_cancelled() || self.facts.reevaluate(decide, &self.lasting) {
            return false;
        }
        self.cut.cancel();
        true
    }
}

impl Registration {
    /// Fires when it is to be cut.
    pub(super) fn cut(&self) -> &CancellationToken {
        &self.cut
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.registry.live).remove(&self.key);
    }
}
