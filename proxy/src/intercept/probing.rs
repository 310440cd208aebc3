//! The one process whose calls are answered without being recorded: the probe of the sandbox's walls.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// Which process of the sandbox is the probe, if one runs. Its connections are led to the proxy like anyone's, but as
/// nobody's, which the proxy refuses; so being taken for the probe gains nothing.
#[derive(Debug, Clone, Default)]
pub struct Probing(Arc<AtomicI32>);

/// The probe runs for as long as this lives.
#[must_use]
pub struct ProbeRuns(Arc<AtomicI32>);

impl Probing {
    /// Process `pid`, as numbered inside, is the probe from now on.
    pub fn begin(&self, pid: i32) -> ProbeRuns {
        self.0.store(pid, Ordering::SeqCst);
        ProbeRuns(self.0.clone())
    }

    /// Whether a thread, as numbered on the host, is the probe's or a child's of it.
    pub(super) fn is(&self, thread: u32) -> bool {
        let probe = i64::from(self.0.load(Ordering::SeqCst));
        if probe == 0 {
            return false;
        }
        match crate::identity::inner_pids(thread) {
            Ok((own, parent)) => i64::from(own) == probe || parent.is_some_and(|parent| i64::from(parent) == probe),
            Err(_gone) => false,
        }
    }
}

impl Drop for ProbeRuns {
    fn drop(&mut self) {
        self.0.store(0, Ordering::SeqCst);
    }
}
