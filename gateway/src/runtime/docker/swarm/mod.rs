//! Sandboxes as services of a Docker Swarm. An engine that is one of its managers is asked, by the same API and on the same ways as any
//! other engine; the Swarm's own scheduler picks the machine, by labels and by what is reserved there.
//!
//! A Swarm keeps nothing of a task that has ended. So a sandbox there has one run: it can't be stopped and started again with its files,
//! and is told so; what starts it anew without them is `sandbox start --elsewhere`.
//!
//! ```text
//! service.rs  what is asked for            image.rs  the supervisor, put into images
//! nodes.rs    the Swarm's machines         watch.rs  what became of tasks
//! ```

mod image;
mod nodes;
mod service;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::models::LocalNodeState;
use bollard::query_parameters::{ListSecretsOptionsBuilder, ListServicesOptionsBuilder, LogsOptionsBuilder};
use futures_util::StreamExt as _;
use openshell_api::runtime::NodeState;
use openshell_api::sandbox::{CreateSandbox, RuntimeKind};
use tokio::sync::Mutex;

use super::super::driver::{Driver, Gone, OnNode};
use super::super::{Places, Runtime, RuntimeError, Start};
use super::container::Mode;
use super::engine::{DockerError, Engine, failed};
use super::image as images;
use super::vitals::Pulse;
use super::{Address, Capacity, DockerOptions, Vitals, files, labels};
pub use image::{Registry, Repository};
use service::Plan;
use watch::{Stage, Task, Watch};

/// First version of the API whose services have a seccomp profile of their own (Docker 25).
const FIRST_API: (usize, usize) = (1, 44);
/// Most bytes that a Swarm keeps in a secret.
const MOST_SECRET: usize = 500 * 1024;
/// How long the scheduler may look for a node.
const PLACING: Duration = Duration::from_secs(10);
/// How long a node may take until the task runs, the image's way there included.
const PREPARING: Duration = Duration::from_secs(600);
/// How often a task is looked at that is being made, or ended.
const LOOK: Duration = Duration::from_millis(250);
/// How long what a supervisor wrote may take to arrive from its node.
const WORDS: Duration = Duration::from_secs(5);

/// Why a Swarm could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// The engine is no manager.
    #[error("the engine at {host} is no manager of a Swarm: {detail}")]
    NoManager {
        /// Its address.
        host: String,
        /// What it is.
        detail: &'static str,
    },
    /// Its services can't be confined as sandboxes must be.
    #[error("the engine at {host} speaks version {found} of the API: a service takes a seccomp profile from 1.44 on")]
    TooOld {
        /// Its address.
        host: String,
        /// The version.
        found: String,
    },
    /// The registry does not do as asked.
    #[error("the registry {registry} can't be used: {detail}")]
    Registry {
        /// The repository in it.
        registry: String,
        /// What the engine heard of it.
        detail: String,
    },
    /// No node takes the sandbox.
    #[error("the Swarm finds no place for it: {0}")]
    NoPlace(String),
    /// The start file is too large to be a secret.
    #[error("what the sandbox is started with has {found} bytes, and a secret of a Swarm {most} at most")]
    TooLarge {
        /// Its size.
        found: usize,
        /// The most.
        most: usize,
    },
    /// A living one is not started again.
    #[error("sandbox {0} runs in the Swarm already")]
    Runs(String),
    /// The engine.
    #[error(transparent)]
    Docker(#[from] DockerError),
}

/// The `swarm` runtime.
pub struct SwarmRuntime {
    options: DockerOptions,
    registry: Registry,
    /// Labels of the runtime: what else is asked for, a node must have.
    own: BTreeMap<String, String>,
    engine: Arc<Engine>,
    pulse: Arc<Pulse>,
    watch: Arc<Watch>,
    /// One image is made at a time.
    making: Mutex<()>,
}

impl SwarmRuntime {
    /// A Swarm by one of its managers, and what that one's address is called. Must be called within a tokio runtime.
    pub fn at(
        address: Address,
        host: String,
        registry: Registry,
        own: BTreeMap<String, String>,
        options: DockerOptions,
    ) -> Self {
        let engine = Arc::new(Engine::at(address, host));
        let pulse = Arc::<Pulse>::default();
        let watch = Watch::start(engine.clone(), &pulse);
        Self { options, registry, own, engine, pulse, watch, making: Mutex::default() }
    }

    async fn client(&self) -> Result<&Docker, SwarmError> {
        Ok(self.engine.client().await?)
    }

    /// Refuses an engine that is no manager, or an old one.
    async fn check(&self) -> Result<(), SwarmError> {
        let docker = self.client().await?;
        let info =
            self.engine.soon(async { docker.info().await.map_err(failed("ask the engine about itself")) }).await?;
        let swarm = info.swarm.unwrap_or_default();
        let host = || self.engine.host().to_owned();
        let no_manager = |detail| Err(SwarmError::NoManager { host: host(), detail });
        match (swarm.local_node_state, swarm.control_available) {
            (Some(LocalNodeState::ACTIVE), Some(true)) => {}
            (Some(LocalNodeState::ACTIVE), _) => return no_manager("it is a worker of one"),
            (Some(LocalNodeState::LOCKED), _) => return no_manager("it is locked (`docker swarm unlock`)"),
            _ => return no_manager("it is in none"),
        }
        let version = docker.client_version();
        if (version.major_version, version.minor_version) < FIRST_API {
            return Err(SwarmError::TooOld { host: host(), found: version.to_string() });
        }
        Ok(())
    }

    async fn list(&self) -> Result<(), SwarmError> {
        let docker = self.client().await?;
        self.engine.soon(self.watch.list(docker)).await?;
        self.pulse.beat(Some(nodes::capacity(&self.watch.view().nodes, &BTreeMap::new())));
        Ok(())
    }

    /// Ids of the sandboxes that have a service or a secret.
    async fn left(&self, docker: &Docker) -> Result<BTreeSet<String>, DockerError> {
        let labels = [(labels::GATEWAY, &self.options.gateway), (labels::RUNTIME, &self.options.runtime)];
        let filters = HashMap::from([("label", labels.map(|(key, value)| format!("{key}={value}")).to_vec())]);
        let options = ListServicesOptionsBuilder::default().filters(&filters).build();
        let services = docker.list_services(Some(options)).await.map_err(failed("list the services"))?;
        let options = ListSecretsOptionsBuilder::default().filters(&filters).build();
        let secrets = docker.list_secrets(Some(options)).await.map_err(failed("list the secrets"))?;
        let of_services = services.into_iter().filter_map(|service| service.spec?.labels);
        let labels = of_services.chain(secrets.into_iter().filter_map(|secret| secret.spec?.labels));
        Ok(labels.filter_map(|mut labels| labels.remove(labels::SANDBOX)).collect())
    }

    /// Removes a sandbox's service, and its secret after it.
    async fn clear(&self, docker: &Docker, id: &str) -> Result<(), DockerError> {
        let name = service::name(id);
        let absent = |error: DockerError| if error.is_absent() { Ok(()) } else { Err(error) };
        docker.delete_service(&name).await.map_err(failed("remove the service")).or_else(absent)?;
        docker.delete_secret(&name).await.map_err(failed("remove the secret")).or_else(absent)
    }

    async fn make(&self, docker: &Docker, start: &Start) -> Result<(), RuntimeError> {
        if !self.options.supervisor.is_file() {
            return Err(RuntimeError::NoSupervisor(self.options.supervisor.clone()));
        }
        let name = start.spec.image.as_deref().unwrap_or(&self.options.default_image);
        let image = images::resolve(docker, name).await?;
        let reference = {
            let _one = self.making.lock().await;
            image::derived(docker, &self.registry, &image, &self.options.supervisor).await?
        };
        let mut launch = super::adapted(start, &image, Mode::Capable, &self.options.default_image);
        if let Some(url) = &self.options.gateway_url {
            launch.gateway_url.clone_from(url);
        }
        let launch = serde_json::to_vec(&launch).map_err(|error| super::packing(error.into()))?;
        if launch.len() > MOST_SECRET {
            return Err(SwarmError::TooLarge { found: launch.len(), most: MOST_SECRET }.into());
        }
        let (gateway, runtime) = (self.options.gateway.as_str(), self.options.runtime.as_str());
        let secret = docker.create_secret(service::secret(gateway, runtime, start, &launch)).await;
        let secret = secret.map_err(failed("keep the secret"))?.id;
        let not_on = self.watch.view().nodes.iter().filter(|node| !node.fit).map(|node| node.id.clone()).collect();
        let on = nodes::beyond(&self.own, &start.spec.on);
        let plan = Plan { gateway, runtime, start, image: &reference, secret: &secret, on, not_on };
        docker.create_service(plan.service(), self.registry.login()).await.map_err(failed("make the service"))?;
        Ok(self.placed(docker, &start.launch.sandbox_id).await?)
    }

    /// Waits until the task runs, or has ended. Refuses when the scheduler finds no node for it.
    async fn placed(&self, docker: &Docker, id: &str) -> Result<(), SwarmError> {
        let began = Instant::now();
        loop {
            let task = self.watch.look(docker, id).await?;
            let down = self.watch.view().node(id).is_some_and(nodes::Node::is_down);
            let late = match task.map(|task| task.stage) {
                Some(Stage::Running | Stage::Ended(_)) => return Ok(()),
                Some(Stage::Waiting(said)) => (began.elapsed() > PLACING).then_some(said),
                Some(Stage::Preparing(_)) if down => Some("the node that was to make it is down".to_owned()),
                Some(Stage::Preparing(said)) => (began.elapsed() > PREPARING).then_some(said),
                None => (began.elapsed() > PLACING).then(|| "it made no task".to_owned()),
            };
            if let Some(said) = late {
                return Err(SwarmError::NoPlace(said));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The task of a sandbox lives where it can be seen.
    fn lives(&self, id: &str, task: &Task) -> bool {
        !matches!(task.stage, Stage::Ended(_)) && !self.watch.view().node(id).is_some_and(nodes::Node::is_down)
    }
}

#[async_trait::async_trait]
impl Runtime for SwarmRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Swarm
    }

    fn places(&self, _id: &str) -> Places {
        Places { state_dir: files::HOME.to_owned(), workspace: files::WORKSPACE.to_owned() }
    }

    fn refusal(&self, spec: &CreateSandbox) -> Option<String> {
        let asked = nodes::beyond(&self.own, &spec.on);
        let too_small = || nodes::too_small(&self.watch.view().nodes, &asked, spec.cpu, spec.memory);
        service::refusal(spec).or_else(too_small)
    }

    fn forgets(&self) -> Option<&'static str> {
        Some("a Swarm keeps no files of a task that has ended")
    }

    async fn start(&self, start: &Start) -> Result<(), RuntimeError> {
        let (docker, id) = (self.client().await?, start.launch.sandbox_id.as_str());
        if let Some(task) = self.watch.look(docker, id).await?
            && self.lives(id, &task)
        {
            return Err(SwarmError::Runs(start.launch.sandbox.to_string()).into());
        }
        let _starting = self.watch.starting(id);
        self.clear(docker, id).await?;
        self.make(docker, start).await
    }

    async fn alive(&self, id: &str) -> Result<bool, RuntimeError> {
        let task = self.watch.look(self.client().await?, id).await?;
        Ok(task.is_some_and(|task| !matches!(task.stage, Stage::Ended(_))))
    }

    async fn wait(&self, id: &str) {
        self.watch.ended(id).await;
    }

    async fn ending(&self, id: &str) -> Option<String> {
        match &self.watch.view().tasks.get(id)?.stage {
            Stage::Ended(how) => Some(how.clone()),
            _ => None,
        }
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        let docker = self.client().await?;
        let began = Instant::now();
        let node = self.watch.view().node(id).map(|node| node.id.clone());
        self.clear(docker, id).await?;
        // The task goes once its node has ended it. One that is down does so when it is back.
        let filter = HashMap::from([("label", vec![format!("{}={id}", labels::SANDBOX)])]);
        loop {
            let options = bollard::query_parameters::ListTasksOptionsBuilder::default().filters(&filter).build();
            let tasks = docker.list_tasks(Some(options)).await.map_err(failed("list the tasks"))?;
            self.watch.list(docker).await?;
            let down = self.watch.view().nodes.iter().any(|known| Some(&known.id) == node.as_ref() && known.is_down());
            if down || !tasks.iter().any(watch::lives) {
                return Ok(());
            }
            if began.elapsed() > 2 * grace + PLACING {
                return Err(RuntimeError::Unkillable(id.to_owned()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        let docker = self.client().await?;
        self.clear(docker, id).await?;
        Ok(self.watch.list(docker).await?)
    }

    async fn log_tail(&self, id: &str, lines: usize) -> String {
        let Ok(docker) = self.client().await else { return String::new() };
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&lines.to_string()).build();
        let mut output = docker.service_logs(&service::name(id), Some(options));
        let mut text = Vec::new();
        let reading = async {
            while let Some(Ok(chunk)) = output.next().await {
                text.extend_from_slice(&chunk.into_bytes());
            }
        };
        // A node that is away does not answer.
        let _ = tokio::time::timeout(WORDS, reading).await;
        String::from_utf8_lossy(&text).trim_end().to_owned()
    }

    async fn traces(&self) -> Result<Vec<String>, RuntimeError> {
        let docker = self.client().await?;
        self.watch.list(docker).await?;
        Ok(self.left(docker).await?.into_iter().collect())
    }
}

#[async_trait::async_trait]
impl Driver for SwarmRuntime {
    async fn answers(&self) -> bool {
        self.engine.answers().await
    }

    async fn greet(&self) -> Result<(), RuntimeError> {
        self.check().await?;
        Ok(self.list().await?)
    }

    async fn prove(&self) -> Result<(), RuntimeError> {
        self.greet().await?;
        Ok(image::ask(self.client().await?, &self.registry).await?)
    }

    fn vitals(&self) -> Vitals {
        self.pulse.vitals()
    }

    fn labels(&self, own: &BTreeMap<String, String>, asked: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        nodes::labels(&self.watch.view().nodes, own, asked)
    }

    fn capacity(&self, asked: &BTreeMap<String, String>) -> Option<Capacity> {
        let known = self.pulse.vitals().answered;
        known.then(|| nodes::capacity(&self.watch.view().nodes, &nodes::beyond(&self.own, asked)))
    }

    fn nodes(&self) -> Vec<NodeState> {
        let mut nodes: Vec<NodeState> = self.watch.view().nodes.iter().map(|node| node.state.clone()).collect();
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        nodes
    }

    fn node(&self, id: &str) -> Option<OnNode> {
        let view = self.watch.view();
        let node = view.node(id)?;
        let lives = view.tasks.get(id).is_some_and(|task| !matches!(task.stage, Stage::Ended(_)));
        Some(OnNode { name: node.state.name.clone(), gone: node.is_down() && lives })
    }

    fn gone(&self) -> BTreeMap<String, Gone> {
        let view = self.watch.view();
        let of = |node: &str| -> Vec<String> {
            let there = view.tasks.iter().filter(|(_, task)| task.node.as_deref() == Some(node));
            there.map(|(id, _)| id.clone()).collect()
        };
        let down = view.nodes.iter().filter(|node| node.is_down());
        down.map(|node| {
            let (name, problem) = (node.state.name.clone(), node.state.problem.clone());
            (node.id.clone(), Gone { name, problem, sandboxes: of(&node.id) })
        })
        .collect()
    }
}
