//! What a running policy can reach: the four interfaces it may import, each within limits.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{ResourceLimiter, Result};

use crate::bindings::openshell::policy::{clock, counters, log, types, view};
use crate::counters::Counters;
use crate::engine::{LogLevel, LogSink};
use crate::overtime::Clock;
use crate::reads::{Read, ReadName, Reads, kept};
use crate::view::View;

/// Calls to the host that one decision may make.
const MAX_CALLS: u32 = 10_000;
/// Bytes that pass between the host and one decision.
const MAX_BYTES: usize = 16 << 20;
/// Log lines of one decision that are kept; later ones are dropped.
const MAX_LINES: u32 = 64;
/// Longest log line, in bytes; the rest is cut.
const MAX_LINE: usize = 4096;
/// Elements of one table.
pub(crate) const MAX_TABLE: usize = 20_000;

/// Interfaces that a policy may import, by their short names.
pub(crate) const IMPORTS: [&str; 4] = ["clock", "counters", "log", "view"];

/// Why the host stopped a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    #[error("out of memory")]
    Memory,
    #[error("{0}")]
    HostCalls(String),
}

/// The data of one store.
pub(crate) struct State {
    pub(crate) binding: Arc<str>,
    pub(crate) view: Arc<dyn View>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) log: Arc<dyn LogSink>,
    pub(crate) memory_limit: usize,
    pub(crate) memory_peak: usize,
    /// What it read of the view, where that is of interest.
    pub(crate) reads: Option<Reads>,
    /// What it said last, if it was an error: a panicking guest says why just before it traps.
    pub(crate) last_words: Option<String>,
    /// How far its call has come with its time.
    pub(crate) clock: Clock,
    calls: u32,
    bytes: usize,
    lines: u32,
}

impl State {
    pub(crate) fn new(
        binding: Arc<str>,
        view: Arc<dyn View>,
        counters: Arc<Counters>,
        log: Arc<dyn LogSink>,
        memory_limit: usize,
    ) -> Self {
        Self {
            binding,
            view,
            counters,
            log,
            memory_limit,
            memory_peak: 0,
            reads: None,
            last_words: None,
            clock: Clock::default(),
            calls: 0,
            bytes: 0,
            lines: 0,
        }
    }

    /// Makes it ready for another decision.
    pub(crate) fn renew(&mut self, view: Arc<dyn View>, counters: Arc<Counters>, reads: Option<Reads>) {
        self.view = view;
        self.counters = counters;
        self.reads = reads;
        self.last_words = None;
        self.calls = 0;
        self.bytes = 0;
        self.lines = 0;
    }

    fn call(&mut self) -> Result<()> {
        self.calls += 1;
        if self.calls > MAX_CALLS {
            return Err(Stop::HostCalls(format!("more than {MAX_CALLS} calls")).into());
        }
        Ok(())
    }

    fn hand(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_BYTES {
            return Err(Stop::HostCalls(format!("more than {MAX_BYTES} bytes")).into());
        }
        Ok(())
    }

    fn read(&mut self, name: impl FnOnce() -> ReadName, answered: impl FnOnce() -> Read) {
        if let Some(reads) = &mut self.reads {
            reads.push(name(), answered);
        }
    }
}

impl types::Host for State {}

impl view::Host for State {
    fn header(&mut self, name: String) -> Result<Option<String>> {
        self.call()?;
        let value = self.view.header(&name);
        self.hand(value.as_ref().map_or(0, String::len))?;
        self.read(|| ReadName::Header(kept(&name.to_ascii_lowercase())), || Read::Header(name.clone(), value.clone()));
        Ok(value)
    }

    fn headers(&mut self) -> Result<Vec<u8>> {
        self.call()?;
        let block = self.view.headers();
        self.hand(block.len())?;
        self.read(|| ReadName::Headers, || Read::Headers(block.clone()));
        Ok(block)
    }

    fn body(&mut self) -> Result<Option<Vec<u8>>> {
        self.call()?;
        let body = self.view.body();
        self.hand(body.as_ref().map_or(0, |body| body.len()))?;
        let bytes = body.as_ref().map(|body| body.to_vec());
        self.read(|| ReadName::Body, || Read::Body(body));
        Ok(bytes)
    }

    fn arguments(&mut self) -> Result<Vec<String>> {
        self.call()?;
        let arguments = self.view.arguments();
        self.hand(arguments.iter().map(String::len).sum())?;
        self.read(|| ReadName::Arguments, || Read::Arguments(arguments.clone()));
        Ok(arguments)
    }

    fn ancestors(&mut self) -> Result<Vec<String>> {
        self.call()?;
        let ancestors = self.view.ancestors();
        self.hand(ancestors.iter().map(String::len).sum())?;
        self.read(|| ReadName::Ancestors, || Read::Ancestors(ancestors.clone()));
        Ok(ancestors)
    }

    fn label(&mut self, name: String) -> Result<Option<String>> {
        self.call()?;
        let value = self.view.label(&name);
        self.hand(value.as_ref().map_or(0, String::len))?;
        self.read(|| ReadName::Label(kept(&name)), || Read::Label(name.clone(), value.clone()));
        Ok(value)
    }
}

impl log::Host for State {
    fn emit(&mut self, level: log::Level, message: String) -> Result<()> {
        self.call()?;
        self.hand(message.len())?;
        let mut message = message;
        message.truncate(message.floor_char_boundary(MAX_LINE));
        let level = match level {
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        if self.lines < MAX_LINES {
            self.lines += 1;
            self.log.emit(&self.binding, level, &message);
        }
        self.last_words = (level == LogLevel::Error).then_some(message);
        Ok(())
    }
}

impl clock::Host for State {
    fn now(&mut self) -> Result<u64> {
        self.call()?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl counters::Host for State {
    fn add(&mut self, key: String, amount: u64, window: u32) -> Result<u64> {
        self.call()?;
        Ok(self
            .counters
            .add(&self.binding, &key, amount, window)
            .map_err(|error| Stop::HostCalls(error.to_string()))?)
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        if desired > self.memory_limit {
            return Err(Stop::Memory.into());
        }
        self.memory_peak = self.memory_peak.max(desired);
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(desired <= MAX_TABLE)
    }
}

/// Links the granted interfaces, and nothing else.
pub(crate) fn link<'a>(linker: &mut Linker<State>, granted: impl IntoIterator<Item = &'a str>) -> Result<()> {
    types::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    for import in granted {
        match import {
            "view" => view::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?,
            "log" => log::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?,
            "clock" => clock::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?,
            "counters" => counters::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?,
            _ => {}
        }
    }
    Ok(())
}
