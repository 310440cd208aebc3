//! Processes seen before. What never changes of one is read once; a tree of many is then one look at each.

use std::io;
use std::sync::Arc;

use moka::sync::Cache;

use super::Proc;
use super::status::Status;

/// Most processes remembered. Each holds a descriptor, by which it is known for good: its number may be used again.
pub(super) const KEPT: u64 = 64;
/// Longest chain of ancestors.
const DEEPEST: usize = 64;

/// A process that lives, or did. Once it is gone, nothing can be read of it any more.
pub(super) struct Known {
    pub(super) proc: Proc,
    /// Its process id in the innermost namespace.
    pub(super) inner_pid: u32,
    /// Whose child it is for as long as that one lives; `None`: init's, for as long as it lives itself.
    parent: Option<Arc<Known>>,
}

/// The processes of one sandbox.
pub(super) struct Processes {
    /// Its init, as numbered on the host; where ancestry ends.
    init: i32,
    known: Cache<u32, Arc<Known>>,
}

impl Processes {
    pub(super) fn new(init: i32) -> Self {
        Self { init, known: Cache::new(KEPT) }
    }

    /// The process of a thread, and the path of what it executes at this moment.
    pub(super) fn find(&self, thread: u32) -> io::Result<(Arc<Known>, String)> {
        if let Some(known) = self.known.get(&thread)
            && let Ok(executable) = known.proc.executable()
        {
            return Ok((known, executable));
        }
        let read = self.read(thread, 0, true)?;
        let executable = read.proc.executable()?;
        Ok((read, executable))
    }

    /// What the ancestors of a thread's process execute at this moment, from its parent up to below init. One that ends while
    /// we look ends the chain.
    pub(super) fn ancestors(&self, thread: u32, process: &Known) -> Vec<String> {
        let chain = process.ancestors();
        if chain.whole {
            return chain.executables;
        }
        // One has ended since it was read; whose child is its child now?
        self.read(thread, 0, false).map_or(chain, |read| read.ancestors()).executables
    }

    /// Reads a process anew, and its ancestors: those that are known too, unless they are `trusted` to be still who they were.
    fn read(&self, thread: u32, depth: usize, trusted: bool) -> io::Result<Arc<Known>> {
        let proc = Proc::open(thread)?;
        let Status { parent, inner_pid } = proc.status()?;
        let above = u32::try_from(parent).ok().filter(|_| parent > 1 && parent != self.init && depth < DEEPEST);
        let Some(above) = above else { return Ok(self.keep(thread, Known { proc, inner_pid, parent: None })) };
        let alive = self.known.get(&above).filter(|known| trusted && known.proc.executable().is_ok());
        match alive.map_or_else(|| self.read(above, depth + 1, trusted), Ok) {
            // It had that number while it was the parent: it is not somebody else who has it now.
            Ok(found) if proc.status()?.parent == parent => {
                Ok(self.keep(thread, Known { proc, inner_pid, parent: Some(found) }))
            }
            _ => Ok(Arc::new(Known { proc, inner_pid, parent: None })),
        }
    }

    fn keep(&self, thread: u32, known: Known) -> Arc<Known> {
        let known = Arc::new(known);
        self.known.insert(thread, Arc::clone(&known));
        known
    }
}

/// Executables of a process's ancestors, and whether all of them live.
struct Chain {
    executables: Vec<String>,
    whole: bool,
}

impl Known {
    fn ancestors(&self) -> Chain {
        let mut executables = Vec::new();
        let mut parent = &self.parent;
        while let Some(ancestor) = parent.as_ref().filter(|_| executables.len() < DEEPEST) {
            match ancestor.proc.executable() {
                Ok(executable) => executables.push(executable),
                Err(_) => return Chain { executables, whole: false },
            }
            parent = &ancestor.parent;
        }
        Chain { executables, whole: true }
    }
}
