//! Processes seen before. What never changes of one is read once; a tree of many is then one look at each.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use moka::sync::Cache;

use super::Proc;
use super::digest::Version;
use super::memory::Memory;
use super::status::Status;
use crate::caller::Caller;

/// Most processes remembered. Each holds a descriptor, by which it is known for good (its number may be used again), and
/// one of its memory.
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
    memory: Option<Memory>,
    /// Who it was as a caller, and what it executed.
    caller: Mutex<Option<(Version, Arc<Caller>)>>,
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

    /// The process of a thread, and what it executes at this moment.
    pub(super) fn find(&self, thread: u32) -> io::Result<(Arc<Known>, Version)> {
        if let Some(known) = self.known.get(&thread).filter(|known| known.is_as_it_was())
            && let Ok(version) = known.proc.executed()
        {
            return Ok((known, version));
        }
        let read = self.read(thread, 0, true)?;
        let version = read.proc.executed()?;
        Ok((read, version))
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
        let memory = Memory::of(&proc, thread, parent);
        let known = |proc, parent| Known { proc, inner_pid, parent, memory, caller: Mutex::default() };
        let Some(above) = above else { return Ok(self.keep(thread, known(proc, None))) };
        let alive = self.known.get(&above).filter(|known| trusted && known.proc.executable().is_ok());
        match alive.map_or_else(|| self.read(above, depth + 1, trusted), Ok) {
            // It had that number while it was the parent: it is not somebody else who has it now.
            Ok(found) if proc.status()?.parent == parent => Ok(self.keep(thread, known(proc, Some(found)))),
            _ => Ok(Arc::new(known(proc, None))),
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
    /// Whether it has executed nothing since it was read.
    fn is_as_it_was(&self) -> bool {
        self.memory.as_ref().is_some_and(Memory::lives)
    }

    /// Who it was when it called before, executing the same.
    pub(super) fn caller(&self, version: Version) -> Option<Arc<Caller>> {
        let seen = self.caller.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().filter(|(executed, _)| *executed == version).map(|(_, caller)| Arc::clone(caller))
    }

    /// Who it is, unless it has executed something since it was read.
    pub(super) fn remember(&self, version: Version, caller: &Arc<Caller>) {
        if self.is_as_it_was() {
            *self.caller.lock().unwrap_or_else(PoisonError::into_inner) = Some((version, Arc::clone(caller)));
        }
    }

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
