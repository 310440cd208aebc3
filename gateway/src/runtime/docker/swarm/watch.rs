//! What the services of a Swarm do. Its managers tell events of nodes and services, but none of tasks: what became of a task is
//! listed, with the nodes, every two seconds, which is the sign of life as well, and at once when an event comes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::models::{Task as Found, TaskState};
use bollard::query_parameters::{EventsOptionsBuilder, ListNodesOptions, ListTasksOptionsBuilder};
use futures_util::StreamExt as _;
use tokio::sync::{Mutex, Notify, watch};

use super::super::engine::{DockerError, Engine, failed};
use super::super::labels;
use super::super::vitals::Pulse;
use super::super::watch::Ending;
use super::nodes::{self, Node};

/// How often nodes and tasks are listed.
const EVERY: Duration = Duration::from_secs(2);
/// Between two attempts to follow events.
const AGAIN: Duration = Duration::from_secs(5);

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// No node has it yet, with the scheduler's words.
    Waiting(String),
    /// A node makes it.
    Preparing(String),
    /// It runs.
    Running,
    /// It does not any more, or never did; how that came.
    Ended(String),
}

/// A sandbox's task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    /// Id of its node.
    pub node: Option<String>,
    /// How far it is.
    pub stage: Stage,
    /// When it was made, RFC 3339.
    made: String,
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct View {
    /// Whether the Swarm was asked at least once what there is.
    complete: bool,
    /// Its machines.
    pub nodes: Vec<Node>,
    /// By sandbox.
    pub tasks: HashMap<String, Task>,
    /// Sandboxes whose service is being made: what is known of them may be older than that.
    starting: HashSet<String>,
}

impl View {
    /// The node that a sandbox is on.
    pub fn node(&self, sandbox: &str) -> Option<&Node> {
        let id = self.tasks.get(sandbox)?.node.as_ref()?;
        self.nodes.iter().find(|node| node.id == *id)
    }

    fn over(&self, sandbox: &str) -> bool {
        let lives = |task: &Task| !matches!(task.stage, Stage::Ended(_));
        self.complete && !self.starting.contains(sandbox) && !self.tasks.get(sandbox).is_some_and(lives)
    }
}

/// Follows the tasks of sandboxes.
pub(super) struct Watch {
    view: watch::Sender<View>,
    /// One list at a time, so that an older one never replaces a newer one.
    listing: Mutex<()>,
    news: Notify,
}

/// A service is being made.
pub(super) struct Starting<'a> {
    watch: &'a Watch,
    sandbox: String,
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.watch.view.send_modify(|view| {
            view.starting.remove(&self.sandbox);
        });
    }
}

impl Watch {
    /// Follows them from now on, until the last handle is dropped.
    pub fn start(engine: Arc<Engine>, pulse: &Arc<Pulse>) -> Arc<Self> {
        let watch = Arc::new(Self { view: watch::Sender::default(), listing: Mutex::default(), news: Notify::new() });
        tokio::spawn(follow(engine.clone(), Arc::downgrade(pulse), Arc::downgrade(&watch)));
        tokio::spawn(hear(engine, Arc::downgrade(&watch)));
        watch
    }

    /// What is known now.
    pub fn view(&self) -> watch::Ref<'_, View> {
        self.view.borrow()
    }

    /// From here on a sandbox counts as living, until the answer is dropped.
    pub fn starting(&self, sandbox: &str) -> Starting<'_> {
        self.view.send_modify(|view| {
            view.starting.insert(sandbox.to_owned());
        });
        Starting { watch: self, sandbox: sandbox.to_owned() }
    }

    /// Lists nodes and tasks, and notes them.
    pub async fn list(&self, docker: &Docker) -> Result<(), DockerError> {
        let _alone = self.listing.lock().await;
        let found = docker.list_nodes(None::<ListNodesOptions>).await.map_err(failed("list the nodes"))?;
        let nodes: Vec<Node> = found.into_iter().filter_map(nodes::node).collect();
        let filter = HashMap::from([("label", vec![labels::SANDBOX])]);
        let options = ListTasksOptionsBuilder::default().filters(&filter).build();
        let found = docker.list_tasks(Some(options)).await.map_err(failed("list the tasks"))?;
        let tasks = newest(found);
        self.view.send_modify(|view| (view.nodes, view.tasks, view.complete) = (nodes, tasks, true));
        Ok(())
    }

    /// Lists them, and answers how far the task of a sandbox is.
    pub async fn look(&self, docker: &Docker, sandbox: &str) -> Result<Option<Task>, DockerError> {
        self.list(docker).await?;
        Ok(self.view().tasks.get(sandbox).cloned())
    }

    /// Resolves when a sandbox has no task that lives. Waits while nothing is known of any.
    pub async fn ended(&self, sandbox: &str) {
        // The sender lives in `self`, so this can't fail before the condition holds.
        let _ = self.view.subscribe().wait_for(|view| view.over(sandbox)).await;
    }
}

/// The newest task of each sandbox; those of services that are removed are none.
pub(super) fn newest(found: Vec<Found>) -> HashMap<String, Task> {
    let mut tasks: HashMap<String, Task> = HashMap::new();
    for found in found {
        let Some((sandbox, task)) = task(found) else { continue };
        if tasks.get(&sandbox).is_none_or(|known| known.made <= task.made) {
            tasks.insert(sandbox, task);
        }
    }
    tasks
}

fn task(found: Found) -> Option<(String, Task)> {
    let labels = found.spec.and_then(|spec| spec.container_spec?.labels).unwrap_or_default();
    let sandbox = labels.get(labels::SANDBOX)?.clone();
    if found.desired_state == Some(TaskState::REMOVE) {
        return None;
    }
    let status = found.status.unwrap_or_default();
    let said = status.err.filter(|error| !error.is_empty()).or(status.message).unwrap_or_default();
    let code = status.container_status.and_then(|container| container.exit_code).unwrap_or_default();
    let stage = match status.state.unwrap_or(TaskState::NEW) {
        TaskState::NEW | TaskState::ALLOCATED | TaskState::PENDING => Stage::Waiting(said),
        TaskState::ASSIGNED | TaskState::ACCEPTED | TaskState::PREPARING | TaskState::READY | TaskState::STARTING => {
            Stage::Preparing(said)
        }
        TaskState::RUNNING => Stage::Running,
        TaskState::COMPLETE | TaskState::FAILED if said.starts_with("task: non-zero exit") || code == 0 => {
            Stage::Ended(Ending { code, ..Ending::default() }.to_string())
        }
        TaskState::COMPLETE | TaskState::FAILED => {
            Stage::Ended(Ending { code, error: said, ..Ending::default() }.to_string())
        }
        TaskState::REJECTED => Stage::Ended(format!("its node refused it: {said}")),
        TaskState::SHUTDOWN => Stage::Ended("the Swarm ended it, as it does when a node was lost or is drained".into()),
        TaskState::REMOVE | TaskState::ORPHANED => {
            Stage::Ended("the Swarm gave it up: its node did not come back".into())
        }
    };
    Some((
        sandbox,
        Task { node: found.node_id, stage, made: found.created_at.map(|at| at.to_string()).unwrap_or_default() },
    ))
}

async fn follow(engine: Arc<Engine>, pulse: Weak<Pulse>, watch: Weak<Watch>) {
    loop {
        let began = (Instant::now(), jiff::Timestamp::now());
        let asked = {
            let Some(watch) = watch.upgrade() else { return };
            engine.soon(async { watch.list(engine.client().await?).await }).await
        };
        let (Some(watch), Some(pulse)) = (watch.upgrade(), pulse.upgrade()) else { return };
        match asked {
            Ok(()) => pulse.beat(Some(nodes::capacity(&watch.view().nodes, &BTreeMap::new()))),
            Err(error) => pulse.miss(began, error.to_string()),
        }
        let news = async {
            watch.news.notified().await;
        };
        let _ = tokio::time::timeout(EVERY, news).await;
    }
}

/// Has nodes and tasks listed whenever the Swarm tells something.
async fn hear(engine: Arc<Engine>, watch: Weak<Watch>) {
    while watch.strong_count() > 0 {
        if let Ok(docker) = engine.client().await {
            let filter = HashMap::from([("type", vec!["node", "service"])]);
            let events = docker.events(Some(EventsOptionsBuilder::default().filters(&filter).build()));
            tokio::pin!(events);
            // A stream that has gone quiet may be dead; the list goes on without it.
            while let Ok(Some(Ok(_event))) = tokio::time::timeout(Duration::from_secs(300), events.next()).await {
                let Some(watch) = watch.upgrade() else { return };
                watch.news.notify_one();
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Whether a node may still run a task, of whatever service.
pub(super) fn lives(found: &Found) -> bool {
    let state = found.status.as_ref().and_then(|status| status.state);
    let over = [
        TaskState::COMPLETE,
        TaskState::SHUTDOWN,
        TaskState::FAILED,
        TaskState::REJECTED,
        TaskState::REMOVE,
        TaskState::ORPHANED,
    ];
    found.node_id.is_some() && state.is_some_and(|state| !over.contains(&state))
}
