//! The runtimes of a gateway as one: which there are, which sandbox is in which, and where a new one goes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::join_all;
use openshell_api::Name;
use openshell_api::runtime::{RuntimeHealth, RuntimeState};
use openshell_api::sandbox::{CreateSandbox, RuntimeKind};

use super::docker::{DockerOptions, DockerRuntime};
use super::driver::{Driver, OnNode};
use super::machine::{self, Machine};
use super::placement::{Candidate, Promised, lacking, place};
use super::{Places, Runtime, RuntimeError, Start};
use crate::error::{ApiResult, refuse};
use crate::store::{SandboxRow, StoredRuntime};

/// All runtimes.
pub struct Runtimes {
    process: Arc<dyn Runtime>,
    /// By name. The one that is called `docker` is the gateway's own.
    machines: RwLock<BTreeMap<Name, Arc<Machine>>>,
    /// What further engines are made with.
    options: Option<DockerOptions>,
    /// Where a sandbox goes that names none; absent: to an engine, or else to `process`.
    preferred: Option<RuntimeKind>,
    /// A gateway that is in a container itself has nowhere to put processes.
    containers_only: bool,
    lost_after: Duration,
    seats: Mutex<HashMap<String, Seat>>,
    /// Sandboxes that are being started again.
    starting: Mutex<HashSet<String>>,
    /// Sandboxes whose end somebody waits for, and whether they are to be looked at once more before that one leaves.
    watched: Mutex<HashMap<String, bool>>,
}

/// A sandbox is being started again, by one call.
pub struct Starting<'a> {
    runtimes: &'a Runtimes,
    id: String,
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.runtimes.starting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// Where a sandbox is.
struct Seat {
    runtime: Name,
    /// What it asks for, until the database knows it.
    promised: Option<Box<CreateSandbox>>,
}

/// A place that is kept for a sandbox until it is stored. If it never is, the sandbox is where it was.
pub struct Reservation<'a> {
    runtimes: &'a Runtimes,
    id: String,
    /// Where.
    pub runtime: Name,
    before: Option<Seat>,
    kept: bool,
}

impl Reservation<'_> {
    /// The sandbox is stored.
    pub fn keep(mut self) {
        self.runtimes.assign(&self.id, &self.runtime);
        self.kept = true;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        match self.before.take() {
            _ if self.kept => {}
            Some(seat) => drop(self.runtimes.seats().insert(self.id.clone(), seat)),
            None => drop(self.runtimes.seats().remove(&self.id)),
        }
    }
}

/// What is to be found a place for.
pub struct Wanted<'a> {
    /// Id of the sandbox.
    pub id: &'a str,
    /// What it asks for.
    pub spec: &'a CreateSandbox,
    /// The runtime that is to be used; absent: whichever fits.
    pub named: Option<&'a Name>,
    /// Where it was; it goes elsewhere.
    pub leaves: Option<&'a Name>,
    /// Elsewhere is also another machine of the runtime where it was.
    pub may_stay: bool,
}

impl Runtimes {
    /// With those that a gateway brings along. An engine that is lost is one that was silent for `lost_after`.
    pub fn new(process: Arc<dyn Runtime>, preferred: Option<RuntimeKind>, lost_after: Duration) -> Self {
        Self {
            process,
            machines: RwLock::default(),
            options: None,
            preferred,
            containers_only: false,
            lost_after,
            seats: Mutex::default(),
            starting: Mutex::default(),
            watched: Mutex::default(),
        }
    }

    /// The same with the engine of the gateway's own machine.
    pub fn with_docker(mut self, options: DockerOptions) -> Self {
        if let Ok(name) = Name::parse(RuntimeKind::Docker.as_str()) {
            let machine = Machine::new(name.clone(), None, Box::new(DockerRuntime::new(options.clone())));
            self.machines.get_mut().unwrap_or_else(PoisonError::into_inner).insert(name, machine);
        }
        Self { options: Some(options), ..self }
    }

    /// The same, where sandboxes are containers or none.
    pub fn containers_only(self) -> Self {
        Self { containers_only: true, ..self }
    }

    /// What an engine that is added is made with; `None`: this gateway's sandboxes are never containers.
    pub fn options(&self) -> Option<&DockerOptions> {
        self.options.as_ref()
    }

    /// Takes an engine up. The one that had its name is one of the gateway's no more.
    pub fn install(&self, added: StoredRuntime, driver: Box<dyn Driver>) -> Arc<Machine> {
        let machine = Machine::new(added.name.clone(), Some(added), driver);
        let mut machines = self.machines.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = machines.insert(machine.name.clone(), machine.clone()) {
            before.gone.cancel();
        }
        machine
    }

    /// Forgets an engine.
    pub fn uninstall(&self, name: &Name) {
        if let Some(machine) = self.machines.write().unwrap_or_else(PoisonError::into_inner).remove(name) {
            machine.gone.cancel();
        }
    }

    /// Every engine, by name.
    pub fn machines(&self) -> Vec<Arc<Machine>> {
        self.machines.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// One engine.
    pub fn machine(&self, name: &str) -> Option<Arc<Machine>> {
        let machines = self.machines.read().unwrap_or_else(PoisonError::into_inner);
        machines.iter().find(|(known, _)| known.as_str() == name).map(|(_, machine)| machine.clone())
    }

    /// Whether there are engines beside the gateway's own.
    pub fn spreads(&self) -> bool {
        self.machines().iter().any(|machine| machine.added.is_some())
    }

    /// After how long a silence an engine is lost.
    pub fn lost_after(&self) -> Duration {
        self.lost_after
    }

    /// Whether a runtime's sandboxes can't be heard of. `None`: there is no such runtime.
    pub fn health(&self, name: &str) -> Option<RuntimeHealth> {
        if name == RuntimeKind::Process.as_str() {
            return Some(RuntimeHealth::Answers);
        }
        self.machine(name).map(|machine| machine.health(self.lost_after))
    }

    /// On which machine of its runtime a sandbox is, where that has several.
    pub fn node(&self, row: &SandboxRow) -> Option<OnNode> {
        self.machine(row.runtime.as_str())?.driver.node(&row.id)
    }

    /// Why nothing is kept of a sandbox in this runtime once it has ended; `None`: it is.
    pub fn forgets(&self, name: &Name) -> Option<&'static str> {
        self.machine(name.as_str())?.driver.forgets()
    }

    /// As [`Runtime::missing`].
    pub async fn missing(&self, id: &str) -> Result<Option<&'static str>, RuntimeError> {
        self.of(id)?.runtime().missing(id).await
    }

    /// Begins to start a sandbox again; `None`: another call does.
    pub fn starting(&self, id: &str) -> Option<Starting<'_>> {
        let begun = self.starting.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        begun.then(|| Starting { runtimes: self, id: id.to_owned() })
    }

    /// Whether a sandbox is being started again.
    pub fn is_starting(&self, id: &str) -> bool {
        self.starting.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Begins to wait for a sandbox's end. `false`: somebody does, and will look once more.
    pub fn begin_watch(&self, id: &str) -> bool {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let known = watched.contains_key(id);
        watched.insert(id.to_owned(), known);
        !known
    }

    /// Ends that. `false`: it is to be looked at once more first.
    pub fn end_watch(&self, id: &str) -> bool {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let again = watched.remove(id) == Some(true);
        if again {
            watched.insert(id.to_owned(), false);
        }
        !again
    }

    /// Finds a place for a sandbox, and keeps it. `rows` are the sandboxes that there are. Refuses a runtime that isn't there, and what
    /// none, or the one that is named, can honour.
    pub async fn choose(&self, wanted: Wanted<'_>, rows: &[SandboxRow]) -> ApiResult<Reservation<'_>> {
        let Wanted { id, spec, named, leaves, may_stay } = wanted;
        let reserve = |seats: &mut HashMap<String, Seat>, runtime: &Name| {
            let seat = Seat { runtime: runtime.clone(), promised: Some(Box::new(spec.clone())) };
            let before = seats.insert(id.to_owned(), seat);
            Reservation { runtimes: self, id: id.to_owned(), runtime: runtime.clone(), before, kept: false }
        };
        if let Some(name) = named {
            // Whoever says where a lost one is to go has more in mind than where it was to be.
            let on = if leaves.is_some() { &BTreeMap::new() } else { &spec.on };
            self.named(name, spec, on)?;
            if let Some(machine) = self.machine(name.as_str()) {
                machine.driver.greet().await?;
            }
            return Ok(reserve(&mut self.seats(), name));
        }
        let added = self.spreads();
        let anywhere = spec.on.is_empty() && leaves.is_none();
        let preferred = self.preferred.filter(|kind| !(added && spec.image.is_some() && *kind == RuntimeKind::Process));
        if anywhere && (preferred.is_some() || !added) {
            let name = builtin(self.built_in(preferred, spec).await)?;
            self.named(&name, spec, &spec.on)?;
            return Ok(reserve(&mut self.seats(), &name));
        }
        let machines: Vec<_> =
            self.machines().into_iter().filter(|machine| may_stay || Some(&machine.name) != leaves).collect();
        let answers = join_all(machines.iter().map(|machine| machine.driver.greet())).await;
        let silent = answers.iter().all(Result::is_err);
        let mut seats = self.seats();
        let candidates: Vec<Candidate> = machines
            .iter()
            .zip(answers)
            .map(|(machine, answer)| Candidate {
                name: machine.name.clone(),
                labels: machine.labels_for(spec),
                far: machine.added.is_some(),
                answer: answer.map_err(|error| error.to_string()).and_then(|()| {
                    machine.driver.capacity(&spec.on).ok_or_else(|| "it does not say how large it is".to_owned())
                }),
                refusal: machine.driver.refusal(spec),
                promised: promised(&machine.name, rows, &seats),
            })
            .collect();
        match place(&candidates, spec) {
            Ok(candidate) => Ok(reserve(&mut seats, &candidate.name)),
            Err(_) if silent && anywhere && self.takes_processes(spec) => {
                let process = builtin(RuntimeKind::Process)?;
                Ok(reserve(&mut seats, &process))
            }
            Err(reasons) if reasons.is_empty() => {
                Err(refuse(422, "no_runtime", "this gateway has no machine for this sandbox")
                    .hint("`openshell runtime add` gives it one"))
            }
            Err(reasons) => Err(refuse(422, "no_runtime", format!("no runtime takes this sandbox:{reasons}"))
                .hint("ask for less, or for other labels; `openshell runtime list` shows what there is")),
        }
    }

    fn takes_processes(&self, spec: &CreateSandbox) -> bool {
        !self.containers_only && spec.image.is_none() && self.process.refusal(spec).is_none()
    }

    /// Which of those that the gateway brings along takes a sandbox.
    async fn built_in(&self, preferred: Option<RuntimeKind>, spec: &CreateSandbox) -> RuntimeKind {
        match (preferred, self.machine(RuntimeKind::Docker.as_str())) {
            _ if spec.image.is_some() || self.containers_only => RuntimeKind::Docker,
            (Some(preferred), _) => preferred,
            (None, Some(docker)) if docker.driver.answers().await => RuntimeKind::Docker,
            (None, _) => RuntimeKind::Process,
        }
    }

    /// Refuses a runtime that isn't there, and what it can't honour.
    fn named(&self, name: &Name, spec: &CreateSandbox, on: &BTreeMap<String, String>) -> ApiResult<()> {
        let machine = self.machine(name.as_str());
        let process = name.as_str() == RuntimeKind::Process.as_str();
        if process && self.containers_only {
            let why = "this gateway is in a container itself: it has no runtime process";
            return Err(refuse(422, "runtime_unavailable", why).hint(self.there_are()));
        }
        let refusal = match &machine {
            Some(machine) => machine.driver.refusal(spec),
            None if process => self.process.refusal(spec),
            None => {
                let why = format!("this gateway has no runtime {name}");
                return Err(refuse(422, "runtime_unavailable", why).hint(self.there_are()));
            }
        };
        let labels = machine.map(|machine| machine.labels_for(spec)).unwrap_or_default();
        if let Some((key, value)) = lacking(&labels, on) {
            return Err(refuse(422, "unsupported_option", format!("the runtime {name} lacks the label {key}={value}"))
                .hint("name a runtime, or labels, not both"));
        }
        refusal.map_or(Ok(()), |why| Err(refuse(422, "unsupported_option", why)))
    }

    fn there_are(&self) -> String {
        let process = (!self.containers_only).then(|| RuntimeKind::Process.as_str().to_owned());
        let names = self.machines().into_iter().map(|machine| machine.name.to_string()).chain(process);
        format!("it has: {}", names.collect::<Vec<_>>().join(", "))
    }

    /// Says in which runtime a sandbox is.
    pub fn assign(&self, id: &str, runtime: &Name) {
        self.seats().insert(id.to_owned(), Seat { runtime: runtime.clone(), promised: None });
    }

    /// Those in which a sandbox can be made now.
    pub async fn available(&self) -> Vec<Name> {
        let process = if self.containers_only { None } else { builtin(RuntimeKind::Process).ok() };
        let machines = self.machines();
        let answers = join_all(machines.iter().map(|machine| async {
            match machine.added {
                None => machine.driver.answers().await,
                Some(_) => machine.health(self.lost_after) == RuntimeHealth::Answers,
            }
        }));
        let answering = machines.iter().zip(answers.await).filter(|(_, answers)| *answers);
        process.into_iter().chain(answering.map(|(machine, _)| machine.name.clone())).collect()
    }

    /// All of them by name, and how they are.
    pub fn states(&self, rows: &[SandboxRow]) -> Vec<RuntimeState> {
        let seats = self.seats();
        let state = |machine: &Arc<Machine>| machine.state(promised(&machine.name, rows, &seats), self.lost_after);
        let mut states: Vec<RuntimeState> = self.machines().iter().map(state).collect();
        if let (false, Ok(name)) = (self.containers_only, builtin(RuntimeKind::Process)) {
            let taken = promised(&name, rows, &seats);
            states.push(machine::processes(name, taken));
        }
        states.sort_by(|one, other| one.name.cmp(&other.name));
        states
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<String, Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The runtime that a sandbox is in. Those that were never [assigned](Self::assign) count as processes.
    fn of(&self, id: &str) -> Result<Place, RuntimeError> {
        let name = self.seats().get(id).map(|seat| seat.runtime.clone());
        match name {
            None => Ok(Place::Process(self.process.clone())),
            Some(name) if name.as_str() == RuntimeKind::Process.as_str() => Ok(Place::Process(self.process.clone())),
            Some(name) => {
                self.machine(name.as_str()).map(Place::Engine).ok_or_else(|| RuntimeError::NoRuntime(name.to_string()))
            }
        }
    }

    /// As [`Runtime::places`].
    pub fn places(&self, id: &str) -> Result<Places, RuntimeError> {
        Ok(self.of(id)?.runtime().places(id))
    }

    /// As [`Runtime::hidden`].
    pub fn hidden(&self, id: &str) -> Result<Vec<String>, RuntimeError> {
        Ok(self.of(id)?.runtime().hidden())
    }

    /// As [`Runtime::start`].
    pub async fn start(&self, start: &Start) -> Result<(), RuntimeError> {
        self.of(&start.launch.sandbox_id)?.runtime().start(start).await
    }

    /// As [`Runtime::weaken`].
    pub async fn weaken(&self, start: &Start) -> Result<bool, RuntimeError> {
        self.of(&start.launch.sandbox_id)?.runtime().weaken(start).await
    }

    /// As [`Runtime::alive`].
    pub async fn alive(&self, id: &str) -> Result<bool, RuntimeError> {
        self.of(id)?.runtime().alive(id).await
    }

    /// As [`Runtime::wait`]. Of a sandbox in a runtime that isn't there nobody hears anything.
    pub async fn wait(&self, id: &str) {
        match self.of(id) {
            Ok(Place::Process(process)) => process.wait(id).await,
            Ok(Place::Engine(machine)) => tokio::select! {
                () = machine.driver.wait(id) => {}
                // It is known by another one from now on, or no sandbox is in it any more.
                () = machine.gone.cancelled() => {
                    if let Ok(Place::Engine(machine)) = self.of(id) {
                        machine.driver.wait(id).await;
                    }
                }
            },
            Err(_) => std::future::pending().await,
        }
    }

    /// As [`Runtime::ending`].
    pub async fn ending(&self, id: &str) -> Option<String> {
        self.of(id).ok()?.runtime().ending(id).await
    }

    /// As [`Runtime::stop`].
    pub async fn stop(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        self.of(id)?.runtime().stop(id, grace).await
    }

    /// As [`Runtime::remove`].
    pub async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        self.of(id)?.runtime().remove(id).await?;
        self.forget(id);
        Ok(())
    }

    /// Gives a sandbox's place free without asking its runtime.
    pub fn forget(&self, id: &str) {
        self.seats().remove(id);
    }

    /// As [`Runtime::log_tail`].
    pub async fn log_tail(&self, id: &str, lines: usize) -> String {
        match self.of(id) {
            Ok(place) => place.runtime().log_tail(id, lines).await,
            Err(_) => String::new(),
        }
    }

    /// As [`Runtime::traces`], of the runtimes that a gateway brings along; each is assigned to where it was found. What an engine that
    /// does not answer holds is not among them.
    pub async fn traces(&self) -> Result<Vec<String>, RuntimeError> {
        let mut found = self.process.traces().await?;
        for machine in self.machines().iter().filter(|machine| machine.added.is_none()) {
            match machine.driver.traces().await {
                Ok(ids) => {
                    for id in ids {
                        self.seats()
                            .entry(id.clone())
                            .or_insert_with(|| Seat { runtime: machine.name.clone(), promised: None });
                        found.push(id);
                    }
                }
                Err(error) => tracing::warn!(%error, "sandboxes in Docker can't be looked for"),
            }
        }
        Ok(found)
    }
}

/// A runtime, for as long as it is asked something.
enum Place {
    Process(Arc<dyn Runtime>),
    Engine(Arc<Machine>),
}

impl Place {
    fn runtime(&self) -> &dyn Runtime {
        match self {
            Self::Process(process) => process.as_ref(),
            Self::Engine(machine) => machine.driver.as_ref(),
        }
    }
}

fn builtin(kind: RuntimeKind) -> ApiResult<Name> {
    Name::parse(kind.as_str()).map_err(crate::error::ApiError::internal)
}

/// What the sandboxes of a runtime have been promised: those that are stored, stopped ones too, and those that are being made.
fn promised(name: &Name, rows: &[SandboxRow], seats: &HashMap<String, Seat>) -> Promised {
    let mut promised = Promised::default();
    rows.iter().filter(|row| row.runtime == *name).for_each(|row| promised.add(&row.spec));
    for (id, seat) in seats.iter().filter(|(_, seat)| seat.runtime == *name) {
        if let Some(spec) = seat.promised.as_ref().filter(|_| !rows.iter().any(|row| row.id == *id)) {
            promised.add(spec);
        }
    }
    promised
}
