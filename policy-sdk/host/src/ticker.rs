//! The clock behind deadlines: one thread that advances the engine's epoch while decisions run, and sleeps otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

/// Length of an epoch.
pub(crate) const TICK: Duration = Duration::from_millis(2);
/// The thread parks after this many epochs with nothing to watch, so that a busy engine need not wake it each time.
const IDLE_TICKS: u32 = 100;

struct Shared {
    running: AtomicUsize,
    parked: AtomicBool,
    stop: AtomicBool,
}

/// Owns the thread. It ends when this is dropped, or when the engine is gone.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

/// While one of these lives, epochs advance.
pub(crate) struct Watch<'a>(&'a Ticker);

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            parked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let (weak, theirs) = (engine.weak(), Arc::clone(&shared));
        let handle = std::thread::Builder::new()
            .name("policy-epochs".to_owned())
            .stack_size(64 << 10)
            .spawn(move || tick(&weak, &theirs))?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Keeps epochs advancing for as long as the guard lives.
    pub(crate) fn watch(&self) -> Watch<'_> {
        // The thread states that it parks before it looks at `running` for the last time, and we raise `running` before
        // we look whether it is parked: one of the two sees the other.
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Watch(self)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// Epochs that are certain to have begun after `deadline`, whatever the phase of the clock.
pub(crate) fn epochs(deadline: Duration) -> u64 {
    u64::try_from(deadline.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX - 1).saturating_add(1)
}

fn tick(engine: &EngineWeak, shared: &Shared) {
    let mut idle = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        if idle >= IDLE_TICKS {
            shared.parked.store(true, Ordering::SeqCst);
            while shared.running.load(Ordering::SeqCst) == 0 && !shared.stop.load(Ordering::SeqCst) {
                std::thread::park();
            }
            shared.parked.store(false, Ordering::SeqCst);
            idle = 0;
            continue;
        }
        std::thread::sleep(TICK);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
        idle = if shared.running.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
    }
}
