//! What containers do, from the engine's event stream. An event only says where to look: the truth is what the engine
//! answers about that container, so events that come late or twice change nothing.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerState, ContainerStateStatusEnum};
use bollard::query_parameters::{EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder};
use futures_util::StreamExt as _;
use openshell_api::sandbox::RuntimeKind;
use tokio::sync::watch;

use super::engine::{DockerError, Engine, failed};
use super::labels;
use super::vitals::Pulse;

/// First and longest pause between two attempts to reach the engine.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How far back the engine is asked for events: what happened while the stream was being opened is told again.
const OVERLAP: Duration = Duration::from_secs(60);
/// How long the stream may take to open before the containers are listed.
const OPENING: Duration = Duration::from_millis(50);
/// How often a quiet stream is doubted: one to an engine that is silent otherwise may be dead.
const DOUBT: Duration = Duration::from_secs(5);

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It runs, or is about to.
    Running,
    /// It does not.
    Ended(Ending),
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ending {
    /// Exit code of its first process; 128 + n if signal n ended it.
    pub code: i64,
    /// Whether the kernel ended a process of it for want of memory.
    pub out_of_memory: bool,
    /// Why it did not start at all.
    pub error: String,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.code {
            137 => write!(f, "its container was killed")?,
            code => write!(f, "its container ended with exit code {code}")?,
        }
        if self.out_of_memory {
            f.write_str(", out of memory")?;
        }
        if !self.error.is_empty() {
            write!(f, ": {}", self.error)?;
        }
        Ok(())
    }
}

/// All that is known.
#[derive(Debug, Default)]
struct View {
    /// Whether the engine was asked at least once what there is.
    complete: bool,
    /// By sandbox.
    states: HashMap<String, State>,
    /// Sandboxes whose container is being started: what the engine says of it may be older than that.
    starting: HashSet<String>,
}

/// Follows the containers of one gateway.
pub(super) struct Watch {
    gateway: String,
    /// The same engine may be several of its runtimes.
    runtime: String,
    view: watch::Sender<View>,
}

impl Watch {
    /// Follows them from now on, through restarts of the engine, until the last handle is dropped.
    pub fn start(engine: Arc<Engine>, pulse: Arc<Pulse>, gateway: String, runtime: String) -> Arc<Self> {
        let watch = Arc::new(Self { gateway, runtime, view: watch::Sender::default() });
        tokio::spawn(follow(engine, Arc::downgrade(&pulse), Arc::downgrade(&watch)));
        watch
    }

    /// Has a container started. It counts as running from before the engine is told, so its end can't be missed.
    pub async fn starting<T>(
        &self,
        docker: &Docker,
        sandbox: &str,
        start: impl Future<Output = Result<T, DockerError>>,
    ) -> Result<T, DockerError> {
        self.view.send_modify(|view| {
            view.starting.insert(sandbox.to_owned());
            view.states.insert(sandbox.to_owned(), State::Running);
        });
        let started = start.await;
        self.view.send_modify(|view| {
            view.starting.remove(sandbox);
        });
        self.look(docker, sandbox).await?;
        started
    }

    /// Asks the engine what a container does, and notes it.
    pub async fn look(&self, docker: &Docker, sandbox: &str) -> Result<Option<State>, DockerError> {
        let asked = docker.inspect_container(&super::container_name(sandbox), None::<InspectContainerOptions>).await;
        let state = match asked.map_err(failed("inspect the container")) {
            Ok(found) => found.state.map_or(Some(State::Ended(Ending::default())), state),
            Err(error) if error.is_absent() => None,
            Err(error) => return Err(error),
        };
        self.set(sandbox, state.clone());
        Ok(state)
    }

    /// Resolves when a container does not run, with how it ended. Waits while nothing is known of any.
    pub async fn ended(&self, sandbox: &str) -> Option<Ending> {
        let over = |view: &View| view.complete && view.states.get(sandbox) != Some(&State::Running);
        // The sender lives in `self`, so this can't fail before the condition holds.
        let view = self.view.subscribe().wait_for(over).await.map(|view| view.states.get(sandbox).cloned()).ok()?;
        match view? {
            State::Ended(ending) => Some(ending),
            State::Running => None,
        }
    }

    /// How a container ended, if it did.
    pub fn ending(&self, sandbox: &str) -> Option<Ending> {
        match self.view.borrow().states.get(sandbox) {
            Some(State::Ended(ending)) => Some(ending.clone()),
            _ => None,
        }
    }

    /// Whether it is known that a sandbox has no container.
    pub fn lacks(&self, sandbox: &str) -> bool {
        let view = self.view.borrow();
        view.complete && !view.states.contains_key(sandbox)
    }

    /// Sandboxes that have a container, from the engine; everything about them is noted.
    pub async fn list(&self, docker: &Docker) -> Result<Vec<String>, DockerError> {
        let before: HashSet<String> = self.view.borrow().states.keys().cloned().collect();
        let filter = HashMap::from([("label".to_owned(), vec![format!("{}={}", labels::GATEWAY, self.gateway)])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filter).build();
        let listed = docker.list_containers(Some(options)).await.map_err(failed("list containers"))?;
        let ours = |labels: &HashMap<String, String>| match labels.get(labels::RUNTIME) {
            Some(runtime) => *runtime == self.runtime,
            // Made before there were others.
            None => self.runtime == RuntimeKind::Docker.as_str(),
        };
        let labels = listed.into_iter().filter_map(|found| found.labels).filter(ours);
        let sandboxes: Vec<String> = labels.filter_map(|mut labels| labels.remove(labels::SANDBOX)).collect();
        for sandbox in &sandboxes {
            self.look(docker, sandbox).await?;
        }
        self.view.send_modify(|view| {
            view.states.retain(|sandbox, _| sandboxes.contains(sandbox) || !before.contains(sandbox));
            view.complete = true;
        });
        Ok(sandboxes)
    }

    fn set(&self, sandbox: &str, state: Option<State>) {
        self.view.send_modify(|view| {
            match state {
                _ if view.starting.contains(sandbox) => None,
                Some(state) => view.states.insert(sandbox.to_owned(), state),
                None => view.states.remove(sandbox),
            };
        });
    }
}

/// What a container does; a paused one runs. `None`: it is being removed, and never runs again.
pub(super) fn state(found: ContainerState) -> Option<State> {
    if found.running.unwrap_or(false) || found.restarting.unwrap_or(false) {
        return Some(State::Running);
    }
    if matches!(found.status, Some(ContainerStateStatusEnum::REMOVING | ContainerStateStatusEnum::DEAD)) {
        return None;
    }
    Some(State::Ended(Ending {
        code: found.exit_code.unwrap_or_default(),
        out_of_memory: found.oom_killed.unwrap_or(false),
        error: found.error.unwrap_or_default(),
    }))
}

async fn follow(engine: Arc<Engine>, pulse: Weak<Pulse>, watch: Weak<Watch>) {
    let mut pause = PAUSES.0;
    loop {
        match follow_once(&engine, &pulse, &watch, &mut pause).await {
            Ok(()) => return,
            // Without an engine there is nothing to follow, which is no news.
            Err(DockerError::Unreachable { .. }) => {}
            // Of one that is silent nothing is to be heard, which is said elsewhere.
            Err(error) if pulse.upgrade().is_some_and(|pulse| pulse.vitals().silent.is_some()) => {
                tracing::debug!(%error, "the engine's events broke off");
            }
            Err(error) => tracing::warn!(%error, "the engine's events broke off"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Follows until the stream ends (an error) or nobody wants to know any more.
async fn follow_once(
    engine: &Engine,
    pulse: &Weak<Pulse>,
    watch: &Weak<Watch>,
    pause: &mut Duration,
) -> Result<(), DockerError> {
    let docker = engine.client().await?;
    let Some(gateway) = watch.upgrade().map(|watch| watch.gateway.clone()) else { return Ok(()) };
    let filter = HashMap::from([
        ("type".to_owned(), vec!["container".to_owned()]),
        ("label".to_owned(), vec![format!("{}={gateway}", labels::GATEWAY)]),
    ]);
    let since = (jiff::Timestamp::now() - OVERLAP).as_second().to_string();
    let events = docker.events(Some(EventsOptionsBuilder::default().since(&since).filters(&filter).build()));
    tokio::pin!(events);
    let mut listed = false;
    loop {
        // The first poll opens the stream; the list comes after it.
        let event = match tokio::time::timeout(OPENING, events.next()).await {
            Err(_no_event_yet) if !listed => {
                let Some(watch) = watch.upgrade() else { return Ok(()) };
                watch.list(docker).await?;
                (listed, *pause) = (true, PAUSES.0);
                continue;
            }
            Err(_no_event_yet) => loop {
                if let Ok(event) = tokio::time::timeout(DOUBT, events.next()).await {
                    break event;
                }
                let Some(pulse) = pulse.upgrade() else { return Ok(()) };
                if pulse.vitals().silent.is_some() {
                    return Err(broken_off("the engine is silent"));
                }
            },
            Ok(event) => event,
        };
        let event = event.ok_or_else(|| broken_off("the engine ended the stream"))?;
        let event = event.map_err(failed("follow the engine's events"))?;
        let Some(watch) = watch.upgrade() else { return Ok(()) };
        let sandbox = event.actor.and_then(|actor| actor.attributes?.remove(labels::SANDBOX));
        // Health checks and commands run by hand say nothing about the container's own life.
        let matters = event.action.is_some_and(|action| !action.starts_with("exec_"));
        if let (Some(sandbox), true) = (sandbox, matters) {
            watch.look(docker, &sandbox).await?;
        }
    }
}

fn broken_off(detail: &str) -> DockerError {
    DockerError::Failed { doing: "follow the engine's events", detail: detail.to_owned() }
}
