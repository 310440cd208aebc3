//! Runs a module once, with its settings, and writes down the state it is in then.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use wasmtime::component::{Component, Lift, Linker, WasmList};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

use crate::artifact::{Example, Expectation, Hook};
use crate::author::compiler::BakeError;
use crate::author::remembered::{self, Functions, Modules};
use crate::author::{Checked, settings};
use crate::bindings::exports::openshell::policy::configure as wit;
use crate::counters::Counters;
use crate::engine::{Shared, TracingLog};
use crate::memo::Question;
use crate::session::{Fault, Hooks, Program, Session};
use crate::state;
use crate::view::{NoView, View};

/// Time for each of `schema`, `configure` and an example.
const DEADLINE: Duration = Duration::from_secs(5);
/// Memory it may have when it is configured, and so when it is loaded.
const MEMORY: usize = 16 << 20;
/// Longest text or setup it may hand over, in bytes.
const MAX_HANDED: usize = 4 << 20;
/// Most examples.
const MAX_EXAMPLES: usize = 1000;
/// Largest body cap, in bytes.
const MAX_BODY_CAP: u32 = 8 << 20;

/// A module with its settings inside.
pub(crate) struct Baked {
    pub(crate) component: Vec<u8>,
    pub(crate) body_cap: u32,
    pub(crate) examples: Vec<Example>,
}

/// Where modules run once.
pub(crate) struct Oven {
    pub(crate) engine: Arc<Shared>,
    pub(crate) functions: Option<Arc<Functions>>,
    pub(crate) modules: Modules,
}

impl Oven {
    /// What to call of a module, compiled, with what the snapshotter wants to see of it.
    fn program(&self, instrumented: &[u8], checked: &Checked) -> Result<(Program, wit::GuestIndices), BakeError> {
        let compile = || {
            let compile = || Component::new(&self.engine.engine, instrumented);
            remembered::with(self.functions.as_deref(), &checked.digest, compile)
        };
        let compiled = self.modules.get(&checked.digest, compile).map_err(|error| instantiate(&error))?;
        program(&self.engine, &compiled, checked).map_err(|error| instantiate(&error))
    }
}

/// Asks a module for the schema of its settings.
pub(crate) fn schema(oven: &Oven, component: &[u8], checked: &Checked) -> Result<serde_json::Value, BakeError> {
    let (_, instrumented) = guarded(|| Wizer::new().instrument_component(component))?;
    let (program, configure) = oven.program(&instrumented, checked)?;
    let _watch = oven.engine.ticker.watch();
    ask_schema(&program, &configure)
}

/// Checks the settings, configures the module, runs its examples, and snapshots it.
pub(crate) fn bake(
    oven: &Oven,
    component: &[u8],
    checked: &Checked,
    settings: &serde_json::Value,
) -> Result<Baked, BakeError> {
    let wizer = Wizer::new();
    let (context, instrumented) = guarded(|| wizer.instrument_component(component))?;
    let (program, configure) = oven.program(&instrumented, checked)?;
    let _watch = oven.engine.ticker.watch();
    settings::validate(&ask_schema(&program, &configure)?, settings)?;

    let mut session = program.session(&nothing(), &Arc::default(), None).map_err(BakeError::Configure)?;
    session.allow(DEADLINE, MAX_HANDED);
    let guest = configure.load(&mut session.store, &session.instance).map_err(|error| instantiate(&error))?;
    let setup = guest
        .call_configure(&mut session.store, &settings.to_string())
        .map_err(|error| BakeError::Configure(program.fault(&session, Fault::Call(error))))?
        .map_err(|words| BakeError::Refused { words: clean(&words) })?;
    let (body_cap, examples) = read(setup, checked)?;
    warm_up(&program, &mut session, &examples)?;

    session.allow(DEADLINE, MEMORY * 2);
    let mut instance = Snapshot { session: &mut session, error: None };
    let component = guarded(|| ready(wizer.snapshot_component(&context, &mut instance)))?;
    if let Some(error) = instance.error {
        return Err(BakeError::Snapshot { detail: format!("{error:#}") });
    }
    Ok(Baked { component, body_cap, examples })
}

fn program(
    engine: &Arc<Shared>,
    component: &Component,
    checked: &Checked,
) -> wasmtime::Result<(Program, wit::GuestIndices)> {
    let mut linker = Linker::new(&engine.engine);
    state::link(&mut linker, checked.imports.iter().map(String::as_str))?;
    let pre = linker.instantiate_pre(component)?;
    let mut hooks = Hooks::default();
    for hook in &checked.hooks {
        Hooks::find(&pre, *hook, &mut hooks)?;
    }
    let configure = wit::GuestIndices::new(&pre)?;
    let program = Program {
        engine: Arc::clone(engine),
        pre,
        hooks,
        binding: "bake".into(),
        log: Arc::new(TracingLog),
        deadline: DEADLINE,
        memory_bytes: MEMORY,
        reuse: 0,
        kept: Mutex::default(),
    };
    Ok((program, configure))
}

fn nothing() -> Arc<dyn View> {
    Arc::new(NoView)
}

fn instantiate(error: &wasmtime::Error) -> BakeError {
    BakeError::Instantiate { detail: format!("{error:#}") }
}

/// In an instance of its own, so that the snapshot holds no trace of it.
fn ask_schema(program: &Program, configure: &wit::GuestIndices) -> Result<serde_json::Value, BakeError> {
    let counters: Arc<Counters> = Arc::default();
    let mut session = program.session(&nothing(), &counters, None).map_err(BakeError::Configure)?;
    session.find_all(&program.hooks).map_err(|error| instantiate(&error))?;
    session.allow(DEADLINE, MAX_HANDED);
    let guest = configure.load(&mut session.store, &session.instance).map_err(|error| instantiate(&error))?;
    let text = guest
        .call_schema(&mut session.store)
        .map_err(|error| BakeError::Configure(program.fault(&session, Fault::Call(error))))?;
    serde_json::from_str(&text).map_err(|error| BakeError::Schema { detail: error.to_string() })
}

fn read(setup: wit::Setup, checked: &Checked) -> Result<(u32, Vec<Example>), BakeError> {
    let refused = |detail: String| Err(BakeError::Setup { detail });
    if setup.body_cap > MAX_BODY_CAP {
        return refused(format!("body cap of {} bytes; the limit is {MAX_BODY_CAP}", setup.body_cap));
    }
    if setup.examples.len() > MAX_EXAMPLES {
        return refused(format!("{} examples; the limit is {MAX_EXAMPLES}", setup.examples.len()));
    }
    let examples: Vec<_> = setup.examples.into_iter().map(crate::convert::example).collect();
    for (index, example) in examples.iter().enumerate() {
        let hook = if example.request.is_some() { Hook::Request } else { Hook::Connect };
        if !checked.hooks.contains(&hook) {
            return refused(format!("example {index} asks the `{hook}` hook, which the module does not have"));
        }
    }
    Ok((setup.body_cap, examples))
}

/// Fills the module's lazy state with what its examples touch. Refuses it where one gets a wrong answer.
fn warm_up(program: &Program, session: &mut Session, examples: &[Example]) -> Result<(), BakeError> {
    for (index, example) in examples.iter().enumerate() {
        let question = match &example.request {
            Some(request) => Question::Request(&example.connection, request),
            None => Question::Connect(&example.connection),
        };
        session.renew(&nothing(), &Arc::default(), None, DEADLINE);
        let verdict = session
            .verdict(&program.hooks, question)
            .map_err(|fault| BakeError::ExampleFailed { index, failure: program.fault(session, fault) })?;
        let (expected, found) = (example.expect, Expectation::of(&verdict));
        if found != expected {
            return Err(BakeError::Example { index, expected, found });
        }
    }
    Ok(())
}

/// The module's words, fit to be shown.
fn clean(words: &str) -> String {
    let words: String = words.chars().take(4096).collect();
    words.replace(|c: char| c.is_control() && c != '\n', " ")
}

/// Calls the snapshotter. It panics on some modules that it does not support; that is an error about the module, and
/// nothing outlives the call that a panic could have left half done.
fn guarded<T>(call: impl FnOnce() -> wasmtime::Result<T>) -> Result<T, BakeError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(BakeError::Snapshot { detail: format!("{error:#}") }),
        Err(_) => Err(BakeError::Snapshot { detail: "the snapshotter does not support it".to_owned() }),
    }
}

/// Drives a future that never waits.
fn ready<T>(future: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(wasmtime::Error::msg("the snapshotter waits for something")),
    }
}

/// The instance as the snapshotter reads it. The first error is kept; what comes after it is empty.
struct Snapshot<'a> {
    session: &'a mut Session,
    error: Option<wasmtime::Error>,
}

impl Snapshot<'_> {
    fn call<R: Lift + 'static>(&mut self, instance: &str, func: &str) -> wasmtime::Result<R> {
        let Session { store, instance: root, .. } = &mut *self.session;
        let missing = || wasmtime::Error::msg(format!("`{func}` of `{instance}` is missing"));
        let (_, interface) = root.get_export(&mut *store, None, instance).ok_or_else(missing)?;
        let (_, export) = root.get_export(&mut *store, Some(&interface), func).ok_or_else(missing)?;
        let func = root.get_typed_func::<(), (R,)>(&mut *store, export)?;
        Ok(func.call(&mut *store, ())?.0)
    }

    fn number<R: Lift + 'static>(&mut self, instance: &str, func: &str, none: R) -> R {
        self.call(instance, func).unwrap_or_else(|error| {
            self.error.get_or_insert(error);
            none
        })
    }
}

impl ComponentInstanceState for Snapshot<'_> {
    async fn call_func_ret_list_u8(&mut self, instance: &str, func: &str, contents: impl FnOnce(&[u8]) + Send) {
        match self.call::<WasmList<u8>>(instance, func) {
            Ok(list) => contents(list.as_le_slice(&self.session.store)),
            Err(error) => {
                self.error.get_or_insert(error);
                contents(&[]);
            }
        }
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        self.number(instance, func, 0)
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        self.number(instance, func, 0)
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        self.number::<f32>(instance, func, 0.0).to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        self.number::<f64>(instance, func, 0.0).to_bits()
    }
}
