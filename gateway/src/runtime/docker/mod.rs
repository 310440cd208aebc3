//! Sandboxes as containers of a Docker engine.
//!
//! The container is the sandbox's machine: its image the filesystem, its network the way on which the *proxy* dials. Its
//! first process is the supervisor, side-loaded, which runs as an ordinary user without any capability and raises the
//! walls in a user namespace of its own; the workload lives behind them, in a network namespace with loopback alone, as
//! in every runtime. On the gateway's own machine the gateway is reached over a Unix socket in a mounted directory: no port is
//! open for it, and it works with any network, `none` included. On another machine nothing of ours can be mounted: the supervisor
//! is copied into the container, and dials the gateway at an address that the runtime was added with.
//!
//! ```text
//! engine.rs     where the engine is, how it refuses          image.rs   pull; environment, WORKDIR, USER
//! address.rs    engines of other machines: TLS and ssh       far.rs     connections to them
//! vitals.rs     whether it answers, how large it is
//! container.rs  what is asked for                            files.rs   what is unpacked into it
//! made.rs       what one was made with
//! seccomp.rs    the container's system calls                 watch.rs   what became of it, from events
//! swarm/        services of a Swarm, where the engine is a manager of one
//! ```

mod address;
mod container;
mod engine;
mod far;
mod files;
mod image;
mod made;
mod network;
mod seccomp;
mod swarm;
#[cfg(test)]
mod tests;
mod vitals;
mod watch;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectNetworkOptions, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions, StopContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use openshell_api::launch::LaunchSpec;
use openshell_api::sandbox::{CreateSandbox, RuntimeKind};
use tokio::sync::OnceCell;

use super::driver::Driver;
use super::{Places, Runtime, RuntimeError, Start};
pub use address::{Address, InvalidAddress};
use container::{Mode, Plan};
pub use engine::DockerError;
use engine::{Engine, failed};
use files::{Archive, Owner, host_roots};
use image::Image;
use made::Made;
pub use swarm::{Registry, Repository, SwarmError, SwarmRuntime};
use vitals::Pulse;
pub use vitals::{Capacity, Vitals};
use watch::{State, Watch};

/// Labels of what belongs to OpenShell.
mod labels {
    use std::collections::HashMap;

    use super::Start;

    pub const PREFIX: &str = "dev.openshell.";
    /// Which gateway made it.
    pub const GATEWAY: &str = "dev.openshell.gateway";
    /// Id of the sandbox.
    pub const SANDBOX: &str = "dev.openshell.sandbox";
    /// Its name.
    pub const NAME: &str = "dev.openshell.name";
    /// Which of the gateway's runtimes it is in; absent: the gateway's own engine.
    pub const RUNTIME: &str = "dev.openshell.runtime";
    /// [`super::Mode`].
    pub const MODE: &str = "dev.openshell.mode";
    /// Of an image with the supervisor in it: the id of the one that it was made from.
    pub const IMAGE: &str = "dev.openshell.image";

    /// What tells a sandbox's things from everybody else's.
    pub fn ours(gateway: &str, runtime: &str, start: &Start) -> HashMap<String, String> {
        let pairs = [
            (GATEWAY, gateway),
            (RUNTIME, runtime),
            (SANDBOX, &start.launch.sandbox_id),
            (NAME, start.launch.sandbox.as_str()),
        ];
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    /// The same, and the labels that its user gave it.
    pub fn all(gateway: &str, runtime: &str, start: &Start) -> HashMap<String, String> {
        let own = start.spec.labels.iter().filter(|(key, _)| !key.starts_with(PREFIX));
        own.map(|(key, value)| (key.clone(), value.clone())).chain(ours(gateway, runtime, start)).collect()
    }
}

/// Written for the machine that a sandbox runs on, in place of an address.
pub(crate) const HOST_GATEWAY: &str = "host-gateway";
/// With this the supervisor ends when it may not make a user namespace.
const NO_USER_NAMESPACE: i64 = 12;
/// How a supervisor ended whose container is gone.
const REMOVED: &str = "its container was removed, and its files with it";

/// What the runtime is made with.
#[derive(Clone)]
pub struct DockerOptions {
    /// The supervisor's executable.
    pub supervisor: PathBuf,
    /// Directory with the gateway's socket.
    pub link: PathBuf,
    /// Name of the gateway's socket in it.
    pub socket: String,
    /// Tells this gateway's containers from those of others on the same engine.
    pub gateway: String,
    /// Image of sandboxes that name none.
    pub default_image: String,
    /// Name of the runtime.
    pub runtime: String,
    /// Where containers that can mount nothing of the gateway's reach it; absent: where it says that it is.
    pub gateway_url: Option<String>,
}

/// The `docker` runtime. The engine may come and go.
pub struct DockerRuntime {
    options: DockerOptions,
    engine: Arc<Engine>,
    watch: Arc<Watch>,
    pulse: Arc<Pulse>,
    roots: OnceCell<String>,
    apparmor: OnceCell<bool>,
    /// Set once an engine was found whose host forbids user namespaces.
    capable: AtomicBool,
    /// Sandboxes whose container this gateway made and has started once: nothing in it is anybody's yet.
    fresh: Mutex<HashSet<String>>,
}

fn container_name(sandbox: &str) -> String {
    format!("openshell-{}", sandbox.to_ascii_lowercase())
}

impl DockerRuntime {
    /// The engine that the environment names, or the system's. Must be called within a tokio runtime.
    pub fn new(options: DockerOptions) -> Self {
        Self::of(Engine::find(), options)
    }

    /// An engine of another machine, and what its address is called. Must be called within a tokio runtime.
    pub fn at(address: Address, host: String, options: DockerOptions) -> Self {
        Self::of(Engine::at(address, host), options)
    }

    fn of(engine: Engine, options: DockerOptions) -> Self {
        let engine = Arc::new(engine);
        let pulse = Pulse::start(engine.clone());
        let watch = Watch::start(engine.clone(), pulse.clone(), options.gateway.clone(), options.runtime.clone());
        Self {
            options,
            engine,
            watch,
            pulse,
            roots: OnceCell::new(),
            apparmor: OnceCell::new(),
            capable: AtomicBool::new(false),
            fresh: Mutex::default(),
        }
    }

    /// Where it is looked for.
    pub fn host(&self) -> &str {
        self.engine.host()
    }

    async fn client(&self) -> Result<&Docker, DockerError> {
        self.engine.client().await
    }

    fn fresh(&self) -> MutexGuard<'_, HashSet<String>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn create(&self, docker: &Docker, start: &Start, mode: Mode) -> Result<(), RuntimeError> {
        if !self.options.supervisor.is_file() {
            return Err(RuntimeError::NoSupervisor(self.options.supervisor.clone()));
        }
        let name = start.spec.image.as_deref().unwrap_or(&self.options.default_image);
        let image = image::resolve(docker, name).await?;
        let network = self.network(docker, start.spec.network.as_deref()).await?;
        let local = |path: &std::path::Path| self.engine.is_local().then(|| path.to_string_lossy().into_owned());
        let plan = Plan {
            gateway: &self.options.gateway,
            runtime: &self.options.runtime,
            start,
            image: &image,
            mode,
            supervisor: local(&self.options.supervisor),
            link: local(&self.options.link),
            network,
            apparmor: self.has_apparmor(docker).await?,
        };
        let fresh = self.make_volumes(docker, start).await?;
        let options = CreateContainerOptionsBuilder::default().name(&container_name(&start.launch.sandbox_id)).build();
        let made = docker.create_container(Some(options), plan.body()).await;
        made.map_err(failed("make the container"))?;
        self.fresh().insert(start.launch.sandbox_id.clone());
        let archive = self.contents(docker, &plan, &fresh).await?;
        self.upload(docker, &start.launch.sandbox_id, archive).await?;
        self.run(docker, &start.launch.sandbox_id).await
    }

    /// Starts the container, watched.
    async fn run(&self, docker: &Docker, id: &str) -> Result<(), RuntimeError> {
        let name = container_name(id);
        let start = async {
            let started = docker.start_container(&name, None::<StartContainerOptions>).await;
            started.map_err(failed("start the container"))
        };
        Ok(self.watch.starting(docker, id, start).await?)
    }

    /// What is unpacked into a new container.
    async fn contents(&self, docker: &Docker, plan: &Plan<'_>, fresh: &[String]) -> Result<Vec<u8>, RuntimeError> {
        let launch = self.launch(docker, plan.start, plan.image, plan.mode).await?;
        let root = Owner { uid: 0, gid: 0 };
        let owner = plan.supervisor_owner();
        let supervisor = self.carried().await?;
        let roots = self.roots.get_or_init(host_roots).await;
        let mut archive = Archive::new();
        let mut pack = || -> std::io::Result<()> {
            archive.directory(files::HOME, owner, 0o700)?;
            archive.file(files::LAUNCH, owner, 0o600, &launch)?;
            archive.file(files::ROOTS, root, 0o644, roots.as_bytes())?;
            if let Some(supervisor) = &supervisor {
                archive.file(files::SUPERVISOR, root, 0o755, supervisor)?;
            }
            archive.directory(files::WORKSPACE, plan.image.owner, 0o755)?;
            for target in fresh {
                archive.directory(target, plan.image.owner, 0o755)?;
            }
            Ok(())
        };
        pack().map_err(packing)?;
        archive.finish().map_err(packing)
    }

    /// The supervisor's executable, where it can't be mounted.
    async fn carried(&self) -> Result<Option<Vec<u8>>, RuntimeError> {
        if self.engine.is_local() {
            return Ok(None);
        }
        let path = &self.options.supervisor;
        let read = tokio::fs::read(path).await;
        read.map(Some).map_err(|source| RuntimeError::System { doing: format!("read {}", path.display()), source })
    }

    /// The start file: what was asked for, in terms of this container.
    async fn launch(&self, docker: &Docker, start: &Start, image: &Image, mode: Mode) -> Result<Vec<u8>, RuntimeError> {
        let mut launch = adapted(start, image, mode, &self.options.default_image);
        let writable = start.spec.volumes.iter().filter(|volume| !volume.read_only);
        launch.writable.extend(writable.map(|volume| volume.target.clone()));
        if self.engine.is_local() {
            launch.gateway_socket = Some(format!("{}/{}", files::LINK, self.options.socket));
        }
        if let Some(url) = &self.options.gateway_url {
            launch.gateway_url.clone_from(url);
        }
        if start.spec.add_hosts.values().any(|address| address == HOST_GATEWAY) {
            let address = self.host_address(docker, start.spec.network.as_deref()).await?;
            for (host, _) in start.spec.add_hosts.iter().filter(|(_, address)| *address == HOST_GATEWAY) {
                launch.add_hosts.insert(host.to_ascii_lowercase(), address);
            }
        }
        serde_json::to_vec(&launch).map_err(|error| packing(error.into()))
    }

    async fn upload(&self, docker: &Docker, id: &str, archive: Vec<u8>) -> Result<(), RuntimeError> {
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let name = container_name(id);
        let sent = docker.upload_to_container(&name, Some(options), bollard::body_full(archive.into()));
        Ok(sent.await.map_err(failed("copy files into the container"))?)
    }

    /// Starts a container that was stopped, with a new start file.
    async fn resume(&self, docker: &Docker, start: &Start, made: &Made) -> Result<(), RuntimeError> {
        let id = start.launch.sandbox_id.as_str();
        self.fresh().remove(id);
        let image = image::of_container(docker, &made.image).await?;
        let network = self.network(docker, start.spec.network.as_deref()).await?;
        if let Some(known) = made.networks.get(&network) {
            network::rejoin(docker, &container_name(id), &network, known).await?;
        }
        let launch = self.launch(docker, start, &image, made.mode).await?;
        let root = Owner { uid: 0, gid: 0 };
        let owner = if made.mode == Mode::Capable { root } else { image.owner };
        // What this machine trusts may have changed.
        let roots = self.roots.get_or_init(host_roots).await;
        let mut archive = Archive::new();
        archive.file(files::LAUNCH, owner, 0o600, &launch).map_err(packing)?;
        archive.file(files::ROOTS, root, 0o644, roots.as_bytes()).map_err(packing)?;
        if let Some(supervisor) = self.carried().await? {
            archive.file(files::SUPERVISOR, root, 0o755, &supervisor).map_err(packing)?;
        }
        self.upload(docker, id, archive.finish().map_err(packing)?).await?;
        self.run(docker, id).await
    }

    /// Makes the named volumes that do not exist; answers where those will stand.
    async fn make_volumes(&self, docker: &Docker, start: &Start) -> Result<Vec<String>, DockerError> {
        let mut fresh = Vec::new();
        for volume in start.spec.volumes.iter().filter(|volume| !container::is_path(volume)) {
            match docker.inspect_volume(&volume.source).await.map_err(failed("inspect the volume")) {
                Ok(_) => {}
                Err(error) if error.is_absent() => {
                    let request = VolumeCreateRequest { name: Some(volume.source.clone()), ..Default::default() };
                    docker.create_volume(request).await.map_err(failed("make the volume"))?;
                    fresh.push(volume.target.clone());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(fresh)
    }

    /// The network to join: the one asked for, else our own, made if need be.
    async fn network(&self, docker: &Docker, asked: Option<&str>) -> Result<String, DockerError> {
        if let Some(asked) = asked {
            return Ok(asked.to_owned());
        }
        network::own(docker).await
    }

    /// Address of the engine's host in a network.
    async fn host_address(&self, docker: &Docker, network: Option<&str>) -> Result<std::net::IpAddr, DockerError> {
        let name = network.unwrap_or(network::NAME);
        let found = docker.inspect_network(name, None::<InspectNetworkOptions>).await;
        let pools = found.map_err(failed("inspect the network"))?.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        let address = pools.into_iter().find_map(|pool| pool.gateway?.split('/').next()?.parse().ok());
        address.ok_or_else(|| DockerError::Failed {
            doing: "find the host's address",
            detail: format!("network {name} has no gateway; give an address instead of {HOST_GATEWAY}"),
        })
    }

    async fn has_apparmor(&self, docker: &Docker) -> Result<bool, DockerError> {
        let ask = || async {
            let info = docker.info().await.map_err(failed("ask the engine about itself"))?;
            Ok(info.security_options.unwrap_or_default().iter().any(|option| option.starts_with("name=apparmor")))
        };
        self.apparmor.get_or_try_init(ask).await.copied()
    }
}

#[async_trait::async_trait]
impl Runtime for DockerRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Docker
    }

    fn places(&self, _id: &str) -> Places {
        Places { state_dir: files::HOME.to_owned(), workspace: files::WORKSPACE.to_owned() }
    }

    fn refusal(&self, spec: &CreateSandbox) -> Option<String> {
        if !self.engine.is_local() && spec.network.as_deref() == Some("none") {
            return Some("a sandbox on another machine reaches its gateway over a network: it can't have none".into());
        }
        spec.volumes.iter().find_map(container::volume_refusal)
    }

    async fn missing(&self, id: &str) -> Result<Option<&'static str>, RuntimeError> {
        let made = Made::find(self.client().await?, id).await?;
        Ok(made.is_none().then_some(REMOVED))
    }

    async fn start(&self, start: &Start) -> Result<(), RuntimeError> {
        let docker = self.client().await?;
        if let Some(made) = Made::find(docker, &start.launch.sandbox_id).await? {
            return self.resume(docker, start, &made).await;
        }
        let mode = if self.capable.load(Ordering::Relaxed) { Mode::Capable } else { Mode::Unprivileged };
        self.create(docker, start, mode).await
    }

    async fn weaken(&self, start: &Start) -> Result<bool, RuntimeError> {
        let id = start.launch.sandbox_id.as_str();
        let docker = self.client().await?;
        let refused = self.watch.ending(id).is_some_and(|ending| ending.code == NO_USER_NAMESPACE);
        // One that ran before holds files: it is not made anew.
        let fresh = self.fresh().contains(id);
        let made = Made::find(docker, id).await?;
        if !refused || !fresh || made.is_none_or(|made| made.mode != Mode::Unprivileged) {
            return Ok(false);
        }
        tracing::warn!(sandbox = id, "user namespaces are forbidden here: its supervisor gets capabilities instead");
        self.remove(id).await?;
        self.create(docker, start, Mode::Capable).await?;
        self.capable.store(true, Ordering::Relaxed);
        Ok(true)
    }

    async fn alive(&self, id: &str) -> Result<bool, RuntimeError> {
        Ok(self.watch.look(self.client().await?, id).await? == Some(State::Running))
    }

    async fn wait(&self, id: &str) {
        self.watch.ended(id).await;
    }

    async fn ending(&self, id: &str) -> Option<String> {
        let removed = || self.watch.lacks(id).then(|| REMOVED.to_owned());
        self.watch.ending(id).map(|ending| ending.to_string()).or_else(removed)
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        let docker = self.client().await?;
        let patience = i32::try_from(grace.as_secs().max(1)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(patience).build();
        match docker.stop_container(&container_name(id), Some(options)).await.map_err(failed("stop the container")) {
            Ok(()) => {}
            Err(DockerError::Refused { status: 304 | 404, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match self.watch.look(docker, id).await? {
            Some(State::Running) => Err(RuntimeError::Unkillable(id.to_owned())),
            _ => Ok(()),
        }
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        let docker = self.client().await?;
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match docker.remove_container(&container_name(id), Some(options)).await.map_err(failed("remove the container"))
        {
            Err(error) if !error.is_absent() && !error.is_conflict() => Err(error.into()),
            _ => {
                self.fresh().remove(id);
                self.watch.look(docker, id).await?;
                Ok(())
            }
        }
    }

    async fn log_tail(&self, id: &str, lines: usize) -> String {
        let Ok(docker) = self.client().await else { return String::new() };
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&lines.to_string()).build();
        let mut output = docker.logs(&container_name(id), Some(options));
        let mut text = Vec::new();
        while let Some(Ok(chunk)) = output.next().await {
            text.extend_from_slice(&chunk.into_bytes());
        }
        String::from_utf8_lossy(&text).trim_end().to_owned()
    }

    async fn traces(&self) -> Result<Vec<String>, RuntimeError> {
        Ok(self.watch.list(self.client().await?).await?)
    }
}

#[async_trait::async_trait]
impl Driver for DockerRuntime {
    async fn answers(&self) -> bool {
        self.engine.answers().await
    }

    async fn greet(&self) -> Result<(), RuntimeError> {
        let capacity = self.engine.capacity().await?;
        self.pulse.beat(Some(capacity));
        Ok(())
    }

    fn vitals(&self) -> Vitals {
        self.pulse.vitals()
    }
}

/// The start file in terms of an image.
fn adapted(start: &Start, image: &Image, mode: Mode, default_image: &str) -> LaunchSpec {
    let mut launch = LaunchSpec { own_root: true, ..start.launch.clone() };
    launch.image.get_or_insert_with(|| default_image.to_owned());
    launch.env = image.env.iter().cloned().chain(launch.env).collect();
    launch.workdir = launch.workdir.or_else(|| image.workdir.clone());
    launch.degraded.extend(mode.degraded());
    launch
}

fn packing(source: std::io::Error) -> RuntimeError {
    RuntimeError::System { doing: "pack the container's files".into(), source }
}
