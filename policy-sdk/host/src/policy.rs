//! A loaded policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::artifact::{Expectation, Hook, Manifest};
use crate::breaker::Breaker;
use crate::counters::Counters;
use crate::engine::Quarantine;
use crate::failure::{Answer, Failure};
use crate::memo::{Memo, Question};
use crate::reads::{ReadNames, Reads};
use crate::session::{Program, Run};
use crate::types::{
    Backend, Connection, Constraints, Denial, HttpRequest, HttpResponse, InferenceRequest, RouteDecision, Verdict,
    Workload,
};
use crate::view::{NoView, View};

/// Which policy: what records and refusals say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PolicyRef {
    /// `name@version`.
    pub name_version: String,
    /// `sha256:<hex>` of its component.
    pub digest: String,
}

/// What a policy has done since it was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStats {
    /// Questions asked, remembered answers included.
    pub calls: u64,
    /// Answers that were remembered.
    pub memo_hits: u64,
    /// Failures by [`Failure::kind`]; kinds that never happened are absent.
    pub failures: std::collections::BTreeMap<String, u64>,
    /// It is not asked at the moment.
    pub quarantined: bool,
    /// Time it ran, in nanoseconds.
    pub nanoseconds: u64,
    /// Largest memory of any of its instances, in bytes.
    pub peak_memory_bytes: u64,
}

/// Why a self-test failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelfTestError {
    /// It gave another answer than its author expects.
    #[error("example {index}: expected {expected}, got {found}")]
    Wrong {
        /// Position among the examples, from 0.
        index: usize,
        /// What its author expects.
        expected: Expectation,
        /// What it said.
        found: Expectation,
    },
    /// It gave none.
    #[error("example {index}: {failure}")]
    Failed {
        /// Position among the examples, from 0.
        index: usize,
        /// Why.
        failure: Failure,
    },
}

/// A loaded policy. Cheap to clone; every clone is the same policy.
#[derive(Clone)]
pub struct Policy {
    inner: Arc<Inner>,
}

struct Inner {
    manifest: Manifest,
    reference: Arc<PolicyRef>,
    program: Program,
    counters: Arc<Counters>,
    memo: Option<Memo>,
    breaker: Breaker,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    calls: AtomicU64,
    memo_hits: AtomicU64,
    failures: [AtomicU64; Failure::KINDS.len()],
    nanoseconds: AtomicU64,
    peak_memory_bytes: AtomicU64,
}

impl Policy {
    pub(crate) fn new(
        manifest: Manifest,
        program: Program,
        counters: Arc<Counters>,
        memo: Option<Memo>,
        quarantine: Quarantine,
    ) -> Self {
        let reference = Arc::new(PolicyRef { name_version: manifest.name_version(), digest: manifest.module.clone() });
        let (breaker, tally) = (Breaker::new(quarantine), Tally::default());
        Self { inner: Arc::new(Inner { manifest, reference, program, counters, memo, breaker, tally }) }
    }

    /// Its name in the chain.
    pub fn binding(&self) -> &str {
        &self.inner.program.binding
    }

    /// What its artifact says about it.
    pub fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    /// Which policy it is, for records and refusals.
    pub fn reference(&self) -> &PolicyRef {
        &self.inner.reference
    }

    /// Its name in the chain and which policy it is, shared.
    pub(crate) fn identity(&self) -> (Arc<str>, Arc<PolicyRef>) {
        (Arc::clone(&self.inner.program.binding), Arc::clone(&self.inner.reference))
    }

    /// Whether it has a hook.
    pub fn has(&self, hook: Hook) -> bool {
        self.inner.manifest.hooks.contains(&hook)
    }

    /// Asks it its own examples, with nothing in view and counters that are thrown away. Answers how many there are.
    pub fn self_test(&self) -> Result<usize, SelfTestError> {
        let view: Arc<dyn View> = Arc::new(NoView);
        let counters = Arc::default();
        for (index, example) in self.inner.manifest.examples.iter().enumerate() {
            let question = match &example.request {
                Some(request) => Question::Request(&example.connection, request),
                None => Question::Connect(&example.connection),
            };
            let run = self.inner.program.verdict(question, &view, &counters, None);
            let verdict = run.result.map_err(|failure| SelfTestError::Failed { index, failure })?;
            let (expected, found) = (example.expect, Expectation::of(&verdict));
            if found != expected {
                return Err(SelfTestError::Wrong { index, expected, found });
            }
        }
        Ok(self.inner.manifest.examples.len())
    }

    /// Asks about a connection.
    pub fn connect(&self, connection: &Connection, view: &Arc<dyn View>) -> Answer<Verdict> {
        self.ask(Question::Connect(connection), view).0.map(Arc::unwrap_or_clone)
    }

    /// Asks about an HTTP request.
    pub fn request(&self, connection: &Connection, request: &HttpRequest, view: &Arc<dyn View>) -> Answer<Verdict> {
        self.ask(Question::Request(connection, request), view).0.map(Arc::unwrap_or_clone)
    }

    /// Asks about the head of a response.
    pub fn response(
        &self,
        connection: &Connection,
        request: &HttpRequest,
        response: HttpResponse,
        view: &Arc<dyn View>,
    ) -> Answer<Verdict> {
        self.ask(Question::Response(connection, request, response), view).0.map(Arc::unwrap_or_clone)
    }

    /// Asks on what terms a workload may start; the inner error is a refusal in the policy's words.
    pub fn launch(&self, workload: &Workload) -> Answer<Result<Constraints, String>> {
        let inner = &*self.inner;
        inner.tally.calls.fetch_add(1, Ordering::Relaxed);
        let view: Arc<dyn View> = Arc::new(NoView);
        let run = inner.watched(|program| program.launch(workload, &view, &inner.counters));
        Answer { result: run.result, memoized: false }
    }

    /// Asks where an inference request should go. Refuses an answer that names backends or bytes that don't exist.
    pub fn route(&self, request: &InferenceRequest, backends: &[Backend]) -> Answer<Result<RouteDecision, Denial>> {
        let inner = &*self.inner;
        inner.tally.calls.fetch_add(1, Ordering::Relaxed);
        let view: Arc<dyn View> = Arc::new(NoView);
        let run = inner.watched(|program| program.route(request, backends, &view, &inner.counters));
        Answer { result: run.result, memoized: false }
    }

    /// Asks for a verdict, or remembers it. Also says what it read.
    pub(crate) fn ask(&self, question: Question<'_>, view: &Arc<dyn View>) -> (Answer<Arc<Verdict>>, ReadNames) {
        let inner = &*self.inner;
        inner.tally.calls.fetch_add(1, Ordering::Relaxed);
        if let Some((verdict, read)) = inner.memo.as_ref().and_then(|memo| memo.get(question, &**view)) {
            inner.tally.memo_hits.fetch_add(1, Ordering::Relaxed);
            return (Answer { result: Ok(verdict), memoized: true }, read);
        }
        let reads = if inner.memo.is_some() { Reads::default() } else { Reads::names_only() };
        let run = inner.watched(|program| program.verdict(question, view, &inner.counters, Some(reads)));
        let result = run.result.map(Arc::new);
        let mut reads = run.reads.unwrap_or_default();
        let names = reads.take_names();
        if let (Some(memo), Ok(verdict)) = (&inner.memo, &result) {
            memo.put(question, reads, &names, verdict);
        }
        (Answer { result, memoized: false }, names)
    }

    /// Whether it may be asked the same twice without harm, and the second time for nearly nothing.
    pub(crate) fn remembers(&self) -> bool {
        self.inner.memo.is_some()
    }

    /// What it has done so far.
    pub fn stats(&self) -> PolicyStats {
        let tally = &self.inner.tally;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        PolicyStats {
            calls: read(&tally.calls),
            memo_hits: read(&tally.memo_hits),
            failures: std::iter::zip(Failure::KINDS, &tally.failures)
                .map(|(kind, count)| (kind.to_owned(), read(count)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            quarantined: self.inner.breaker.is_open(),
            nanoseconds: read(&tally.nanoseconds),
            peak_memory_bytes: read(&tally.peak_memory_bytes),
        }
    }
}

impl Inner {
    /// Runs the program unless it is quarantined, and takes note of what came of it.
    fn watched<T>(&self, ask: impl FnOnce(&Program) -> Run<T>) -> Run<T> {
        let run = match self.breaker.admit() {
            Ok(()) => {
                let start = Instant::now();
                let run = ask(&self.program);
                let elapsed = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
                self.tally.nanoseconds.fetch_add(elapsed, Ordering::Relaxed);
                self.tally.peak_memory_bytes.fetch_max(run.memory as u64, Ordering::Relaxed);
                match &run.result {
                    Ok(_) => self.breaker.succeeded(),
                    Err(Failure::Instantiate { .. } | Failure::NoHook { .. }) => self.breaker.undecided(),
                    Err(failure) => self.breaker.failed(failure),
                }
                run
            }
            Err(failure) => Run { result: Err(failure), reads: None, memory: 0 },
        };
        if let Err(failure) = &run.result {
            self.tally.failures[failure.index()].fetch_add(1, Ordering::Relaxed);
        }
        run
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy")
            .field("binding", &self.binding())
            .field("policy", &self.inner.reference)
            .finish_non_exhaustive()
    }
}
