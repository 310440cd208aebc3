//! Who follows the log of a sandbox on this gateway, and how far each has read: what they have not read stays a while longer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type BySandbox = HashMap<String, Vec<Arc<AtomicI64>>>;

/// Those who follow. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Followers(Arc<Mutex<BySandbox>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Follower {
    all: Followers,
    sandbox_id: String,
    reached: Arc<AtomicI64>,
}

impl Followers {
    /// Somebody begins to follow a sandbox, and has read nothing.
    pub fn begin(&self, sandbox_id: &str) -> Follower {
        let reached = Arc::new(AtomicI64::new(0));
        self.lock().entry(sandbox_id.to_owned()).or_default().push(reached.clone());
        Follower { all: self.clone(), sandbox_id: sandbox_id.to_owned(), reached }
    }

    /// Number of the last line that all who follow a sandbox have read; `None`: nobody follows it.
    pub fn reached(&self, sandbox_id: &str) -> Option<i64> {
        self.lock().get(sandbox_id)?.iter().map(|reached| reached.load(Ordering::Relaxed)).min()
    }

    fn lock(&self) -> MutexGuard<'_, BySandbox> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// It has read everything up to this line.
    pub fn reach(&self, seq: i64) {
        self.reached.store(seq, Ordering::Relaxed);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        if let Some(those) = all.get_mut(&self.sandbox_id) {
            those.retain(|reached| !Arc::ptr_eq(reached, &self.reached));
            if those.is_empty() {
                all.remove(&self.sandbox_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_those_who_follow_is_waited_for() {
        let all = Followers::default();
        let (a, b, other) = (all.begin("one"), all.begin("one"), all.begin("two"));
        assert_eq!(all.reached("one"), Some(0));
        a.reach(7);
        b.reach(3);
        assert_eq!(all.reached("one"), Some(3));
        drop(b);
        assert_eq!((all.reached("one"), all.reached("two"), all.reached("three")), (Some(7), Some(0), None));
        drop((a, other));
        assert_eq!(all.reached("one"), None);
        assert!(all.lock().is_empty());
    }
}
