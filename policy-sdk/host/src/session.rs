//! One instance of a policy, and how it is asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Store, Trap};

use crate::artifact::Hook;
use crate::bindings::exports::openshell::policy::{connect, launch, request, response, route};
use crate::convert;
use crate::counters::Counters;
use crate::engine::{LogSink, Shared};
use crate::failure::Failure;
use crate::last_words;
use crate::memo::Question;
use crate::overtime;
use crate::reads::Reads;
use crate::state::{State, Stop};
use crate::types::{Backend, Constraints, Denial, InferenceRequest, RouteDecision, Verdict, Workload};
use crate::view::View;

/// Most bytes that a policy hands to the host in one call, its verdict included.
const MAX_LIFTED: usize = 256 << 10;
/// Most instances that one policy keeps for `reuse`.
const MAX_KEPT: usize = 16;

/// Where a component's hooks are, looked up once.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    launch: Option<launch::GuestIndices>,
    connect: Option<connect::GuestIndices>,
    request: Option<request::GuestIndices>,
    response: Option<response::GuestIndices>,
    route: Option<route::GuestIndices>,
}

impl Hooks {
    pub(crate) fn find(pre: &InstancePre<State>, hook: Hook, hooks: &mut Self) -> wasmtime::Result<()> {
        match hook {
            Hook::Connect => hooks.connect = Some(connect::GuestIndices::new(pre)?),
            Hook::Request => hooks.request = Some(request::GuestIndices::new(pre)?),
            Hook::Response => hooks.response = Some(response::GuestIndices::new(pre)?),
            Hook::Route => hooks.route = Some(route::GuestIndices::new(pre)?),
            Hook::Launch => hooks.launch = Some(launch::GuestIndices::new(pre)?),
        }
        Ok(())
    }
}

/// A loaded component and its limits. It makes instances and throws them away.
pub(crate) struct Program {
    pub(crate) engine: Arc<Shared>,
    pub(crate) pre: InstancePre<State>,
    pub(crate) hooks: Hooks,
    pub(crate) binding: Arc<str>,
    pub(crate) log: Arc<dyn LogSink>,
    pub(crate) deadline: Duration,
    pub(crate) memory_bytes: usize,
    pub(crate) reuse: u32,
    pub(crate) kept: Mutex<Vec<Session>>,
}

/// An instance in its store.
pub(crate) struct Session {
    pub(crate) store: Store<State>,
    pub(crate) instance: Instance,
    guests: Guests,
    asked: u32,
}

/// Its hooks, looked up when first asked.
#[derive(Default)]
struct Guests {
    launch: Option<launch::Guest>,
    connect: Option<connect::Guest>,
    request: Option<request::Guest>,
    response: Option<response::Guest>,
    route: Option<route::Guest>,
}

/// What came of one question.
pub(crate) struct Run<T> {
    pub(crate) result: Result<T, Failure>,
    /// What it read, if that was asked for.
    pub(crate) reads: Option<Reads>,
    /// Memory it had in the end, in bytes.
    pub(crate) memory: usize,
}

/// A hook's own error: the call did not return, or what it returned is no answer.
pub(crate) enum Fault {
    Call(wasmtime::Error),
    Answer(Failure),
}

impl From<wasmtime::Error> for Fault {
    fn from(error: wasmtime::Error) -> Self {
        Self::Call(error)
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Answer(failure)
    }
}

impl Program {
    /// Asks for a verdict.
    pub(crate) fn verdict(
        &self,
        question: Question<'_>,
        view: &Arc<dyn View>,
        counters: &Arc<Counters>,
        reads: Option<Reads>,
    ) -> Run<Verdict> {
        self.run(view, counters, reads, |session| session.verdict(&self.hooks, question))
    }

    /// Asks on what terms a workload may start.
    pub(crate) fn launch(
        &self,
        workload: &Workload,
        view: &Arc<dyn View>,
        counters: &Arc<Counters>,
    ) -> Run<Result<Constraints, String>> {
        self.run(view, counters, None, |session| session.launch(&self.hooks, workload))
    }

    /// Asks a router.
    pub(crate) fn route(
        &self,
        request: &InferenceRequest,
        backends: &[Backend],
        view: &Arc<dyn View>,
        counters: &Arc<Counters>,
    ) -> Run<Result<RouteDecision, Denial>> {
        self.run(view, counters, None, |session| session.route(&self.hooks, request, backends))
    }

    /// Makes an instance and finds every hook in it, typed as the contract says.
    pub(crate) fn try_out(&self, counters: &Arc<Counters>) -> Result<(), Failure> {
        let _watch = self.engine.ticker.watch();
        let view: Arc<dyn View> = Arc::new(crate::view::NoView);
        let mut session = self.instantiate(&view, counters, None)?;
        session.find_all(&self.hooks).map_err(|error| Failure::Instantiate { detail: format!("{error:#}") })
    }

    fn run<T>(
        &self,
        view: &Arc<dyn View>,
        counters: &Arc<Counters>,
        reads: Option<Reads>,
        ask: impl FnOnce(&mut Session) -> Result<T, Fault>,
    ) -> Run<T> {
        let _watch = self.engine.ticker.watch();
        let mut session = match self.session(view, counters, reads) {
            Ok(session) => session,
            Err(failure) => return Run { result: Err(failure), reads: None, memory: 0 },
        };
        session.asked += 1;
        let result = match ask(&mut session) {
            Ok(answer) => Ok(answer),
            Err(fault) => Err(self.fault(&session, fault)),
        };
        let state = session.store.data_mut();
        let (reads, memory) = (state.reads.take(), state.memory_peak);
        if result.is_ok() && session.asked < self.reuse {
            self.keep(session);
        }
        Run { result, reads, memory }
    }

    /// A kept instance, or a fresh one.
    pub(crate) fn session(
        &self,
        view: &Arc<dyn View>,
        counters: &Arc<Counters>,
        reads: Option<Reads>,
    ) -> Result<Session, Failure> {
        if self.reuse > 1 {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
            if let Some(mut session) = kept {
                session.renew(view, counters, reads, self.deadline);
                return Ok(session);
            }
        }
        self.instantiate(view, counters, reads)
    }

    fn keep(&self, mut session: Session) {
        let nothing: Arc<dyn View> = Arc::new(crate::view::NoView);
        session.store.data_mut().view = nothing;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MAX_KEPT {
            kept.push(session);
        }
    }

    fn instantiate(
        &self,
        view: &Arc<dyn View>,
        counters: &Arc<Counters>,
        reads: Option<Reads>,
    ) -> Result<Session, Failure> {
        let mut state = State::new(
            Arc::clone(&self.binding),
            Arc::clone(view),
            Arc::clone(counters),
            Arc::clone(&self.log),
            self.memory_bytes,
        );
        state.reads = reads;
        let mut store = Store::new(&self.engine.engine, state);
        store.limiter(|state| state);
        store.set_hostcall_fuel(MAX_LIFTED);
        overtime::watch(&mut store);
        overtime::begin(&mut store, self.deadline);
        match self.pre.instantiate(&mut store) {
            Ok(instance) => Ok(Session { store, instance, guests: Guests::default(), asked: 0 }),
            Err(error) => {
                let detail = |error: &wasmtime::Error| Failure::Instantiate { detail: format!("{error:#}") };
                Err(self.failure(&error, &store, detail))
            }
        }
    }

    /// Why a question got no answer.
    pub(crate) fn fault(&self, session: &Session, fault: Fault) -> Failure {
        match fault {
            Fault::Answer(failure) => failure,
            Fault::Call(error) => {
                let other = |error: &wasmtime::Error| Failure::Output { detail: error.root_cause().to_string() };
                self.failure(&error, &session.store, other)
            }
        }
    }

    fn failure(
        &self,
        error: &wasmtime::Error,
        store: &Store<State>,
        other: impl FnOnce(&wasmtime::Error) -> Failure,
    ) -> Failure {
        match error.downcast_ref::<Stop>() {
            Some(Stop::Memory) => return Failure::Memory { limit_bytes: self.memory_bytes as u64 },
            Some(Stop::HostCalls(detail)) => return Failure::HostCalls { detail: detail.clone() },
            None => {}
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => {
                Failure::Deadline { limit_ms: u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX) }
            }
            Some(trap) => {
                let said = last_words::find(store, error).or_else(|| store.data().last_words.clone());
                Failure::Trap { message: said.unwrap_or_else(|| words(*trap)) }
            }
            None => other(error),
        }
    }
}

/// What a trap is called where the guest said nothing. Stacks grow down to address 0, so one that is too small ends
/// outside the memory.
fn words(trap: Trap) -> String {
    let name = trap.to_string().trim_start_matches("wasm trap: ").to_owned();
    match trap {
        Trap::MemoryOutOfBounds => format!("{name}; did it run out of stack (`stack-bytes` in its Cargo.toml)?"),
        _ => name,
    }
}

impl Session {
    /// Readies it for another question.
    pub(crate) fn renew(
        &mut self,
        view: &Arc<dyn View>,
        counters: &Arc<Counters>,
        reads: Option<Reads>,
        deadline: Duration,
    ) {
        self.store.data_mut().renew(Arc::clone(view), Arc::clone(counters), reads);
        self.allow(deadline, MAX_LIFTED);
    }

    /// Time for the next call, and bytes that it may hand to the host.
    pub(crate) fn allow(&mut self, deadline: Duration, bytes: usize) {
        overtime::begin(&mut self.store, deadline);
        self.store.set_hostcall_fuel(bytes);
    }

    pub(crate) fn verdict(&mut self, hooks: &Hooks, question: Question<'_>) -> Result<Verdict, Fault> {
        let answer = match question {
            Question::Connect(connection) => {
                self.find_connect(hooks)?.call_decide(&mut self.store, convert::connection(connection))?
            }
            Question::Request(connection, request) => self.find_request(hooks)?.call_decide(
                &mut self.store,
                convert::connection(connection),
                convert::request(request),
            )?,
            Question::Response(connection, request, response) => self.find_response(hooks)?.call_decide(
                &mut self.store,
                convert::connection(connection),
                convert::request(request),
                crate::bindings::openshell::policy::types::HttpResponse { status: response.status },
            )?,
        };
        Ok(convert::verdict(answer)?)
    }

    fn launch(&mut self, hooks: &Hooks, workload: &Workload) -> Result<Result<Constraints, String>, Fault> {
        let command = convert::strings(&workload.command);
        let workload = convert::workload(workload, &command);
        let answer = self.find_launch(hooks)?.call_constrain(&mut self.store, workload)?;
        Ok(convert::constraints(answer)?)
    }

    fn route(
        &mut self,
        hooks: &Hooks,
        request: &InferenceRequest,
        backends: &[Backend],
    ) -> Result<Result<RouteDecision, Denial>, Fault> {
        let messages = convert::messages(&request.messages);
        let needs = convert::strings(&request.needs);
        let features: Vec<_> = backends.iter().map(|backend| convert::strings(&backend.features)).collect();
        let answer = self.find_route(hooks)?.call_choose(
            &mut self.store,
            convert::inference(request, &messages, &needs),
            &convert::backends(backends, &features),
        )?;
        Ok(convert::route(answer, request, backends)?)
    }

    /// Finds every hook, typed as the contract says.
    pub(crate) fn find_all(&mut self, hooks: &Hooks) -> wasmtime::Result<()> {
        if let Some(hook) = &hooks.launch {
            hook.load(&mut self.store, &self.instance)?;
        }
        if let Some(hook) = &hooks.connect {
            hook.load(&mut self.store, &self.instance)?;
        }
        if let Some(hook) = &hooks.request {
            hook.load(&mut self.store, &self.instance)?;
        }
        if let Some(hook) = &hooks.response {
            hook.load(&mut self.store, &self.instance)?;
        }
        if let Some(hook) = &hooks.route {
            hook.load(&mut self.store, &self.instance)?;
        }
        Ok(())
    }
}

/// `find_<hook>`: the hook in this instance, looked up once.
macro_rules! find {
    ($($find:ident $hook:ident $name:ident;)*) => {
        impl Session {
            $(fn $find(&mut self, hooks: &Hooks) -> Result<$hook::Guest, Fault> {
                if let Some(guest) = &self.guests.$hook {
                    return Ok(guest.clone());
                }
                let indices = hooks.$hook.as_ref().ok_or(Failure::NoHook { hook: Hook::$name })?;
                let guest = indices.load(&mut self.store, &self.instance)?;
                self.guests.$hook = Some(guest.clone());
                Ok(guest)
            })*
        }
    };
}

find! {
    find_launch launch Launch;
    find_connect connect Connect;
    find_request request Request;
    find_response response Response;
    find_route route Route;
}
