//! Images for the nodes of a Swarm. Nothing can be copied into a task before it starts, so the supervisor is in the image: the user's
//! own with one layer on top, made once per image and supervisor by the manager's engine and pushed to the registry, from which
//! nodes take it by its digest. It holds nothing of a sandbox's.

use std::path::Path;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::models::{ContainerConfig, ContainerCreateBody, ImageInspect};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptions, PushImageOptionsBuilder, RemoveContainerOptionsBuilder,
    UploadToContainerOptionsBuilder,
};
use futures_util::TryStreamExt as _;
use openshell_api::runtime::RegistryLogin;
use sha2::{Digest as _, Sha256};

use super::super::engine::{DockerError, failed};
use super::super::files::{self, Archive, Owner, host_roots};
use super::super::image::Image;
use super::super::{RuntimeError, labels, packing};
use super::SwarmError;

/// Part of every tag: what an image is made of beside its parts.
const LAYOUT: &str = "1";
/// Longest name of a repository.
const LONGEST: usize = 200;

/// A repository of a registry, `host[:port]/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository(String);

impl Repository {
    /// Refuses what is none, or more than that: a tag, a digest, a scheme.
    pub fn parse(given: &str) -> Option<Self> {
        let (host, name) = given.split_once('/')?;
        let (domain, port) = host.split_once(':').unwrap_or((host, "443"));
        let is_host = host == "localhost" || host.contains(['.', ':']);
        let word = |text: &str, more: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.ends_with(|c: char| c.is_ascii_alphanumeric())
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c))
        };
        let whole = given.len() <= LONGEST && name.split('/').all(|part| word(part, "._-"));
        (is_host && whole && word(domain, ".-") && port.parse::<u16>().is_ok()).then(|| Self(given.to_owned()))
    }

    /// `host[:port]/name`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A repository, and how engines log in at its registry.
#[derive(Clone)]
pub struct Registry {
    repository: Repository,
    login: Option<RegistryLogin>,
}

impl Registry {
    /// Asks nobody yet.
    pub fn new(repository: Repository, login: Option<RegistryLogin>) -> Self {
        Self { repository, login }
    }

    /// As the engine takes it.
    pub(super) fn login(&self) -> Option<DockerCredentials> {
        let login = self.login.as_ref()?;
        Some(DockerCredentials {
            username: Some(login.user.clone()),
            password: Some(login.password.0.clone()),
            serveraddress: self.name().split('/').next().map(str::to_owned),
            ..DockerCredentials::default()
        })
    }

    fn name(&self) -> &str {
        self.repository.as_str()
    }
}

/// What goes on top of every image.
struct Layer {
    supervisor: Vec<u8>,
    roots: String,
}

impl Layer {
    async fn read(supervisor: &Path) -> Result<Self, RuntimeError> {
        let read = tokio::fs::read(supervisor).await;
        let doing = || format!("read {}", supervisor.display());
        let supervisor = read.map_err(|source| RuntimeError::System { doing: doing(), source })?;
        Ok(Self { supervisor, roots: host_roots().await })
    }

    /// What the image with this layer is tagged as.
    fn tag(&self, image: &Image) -> String {
        let mut hash = Sha256::new();
        for part in [LAYOUT.as_bytes(), image.id.as_bytes(), &Sha256::digest(&self.supervisor), self.roots.as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hex::encode(&hash.finalize()[..16])
    }

    fn archive(&self, image: &Image) -> std::io::Result<Vec<u8>> {
        let root = Owner { uid: 0, gid: 0 };
        let mut archive = Archive::new();
        archive.directory(files::HOME, root, 0o700)?;
        archive.file(files::ROOTS, root, 0o644, self.roots.as_bytes())?;
        archive.file(files::SUPERVISOR, root, 0o755, &self.supervisor)?;
        archive.directory(files::WORKSPACE, image.owner, 0o755)?;
        archive.finish()
    }
}

/// Whether a registry answers for a repository. A repository that is not there yet is made by the first push.
pub(super) async fn ask(docker: &Docker, registry: &Registry) -> Result<(), SwarmError> {
    has(docker, registry, &format!("{}:latest", registry.name())).await.map(|_either| ())
}

/// Whether a registry has an image.
async fn has(docker: &Docker, registry: &Registry, reference: &str) -> Result<bool, SwarmError> {
    match docker.inspect_registry_image(reference, registry.login()).await.map_err(failed("ask the registry")) {
        Ok(_) => Ok(true),
        Err(error) if error.is_absent() => Ok(false),
        Err(error) => Err(no_registry(registry, error)),
    }
}

fn no_registry(registry: &Registry, error: DockerError) -> SwarmError {
    match error {
        DockerError::Refused { message, .. } => {
            SwarmError::Registry { registry: registry.name().to_owned(), detail: message }
        }
        other => SwarmError::Docker(other),
    }
}

/// Has an image with the supervisor in it made and pushed if the registry lacks it; answers by which digest it is to be had.
pub(super) async fn derived(
    docker: &Docker,
    registry: &Registry,
    image: &Image,
    supervisor: &Path,
) -> Result<String, RuntimeError> {
    let layer = Layer::read(supervisor).await?;
    let tag = layer.tag(image);
    let full = format!("{}:{tag}", registry.name());
    // What is taken is what this engine has made: the registry is asked for it by its digest.
    let known = match docker.inspect_image(&full).await.map_err(failed("inspect the image")) {
        Ok(found) => digest(&found, registry),
        Err(error) if error.is_absent() => None,
        Err(error) => return Err(SwarmError::Docker(error).into()),
    };
    if let Some(known) = known
        && has(docker, registry, &known).await?
    {
        return Ok(known);
    }
    tracing::info!(image = full, "making an image with the supervisor in it");
    let archive = layer.archive(image).map_err(packing)?;
    let made = commit(docker, registry, &tag, image, archive).await.map_err(SwarmError::Docker)?;
    push(docker, registry, &tag).await?;
    let found = docker.inspect_image(&made).await.map_err(failed("inspect the image")).map_err(SwarmError::Docker)?;
    digest(&found, registry).ok_or_else(|| {
        let detail = "it took the image, and no digest is known of it".to_owned();
        SwarmError::Registry { registry: registry.name().to_owned(), detail }.into()
    })
}

/// `repository@sha256:…` of an image that was pushed there.
fn digest(image: &ImageInspect, registry: &Registry) -> Option<String> {
    let start = format!("{}@", registry.name());
    image.repo_digests.iter().flatten().find(|digest| digest.starts_with(&start)).cloned()
}

/// Puts the layer on top. Answers the new image's id.
async fn commit(
    docker: &Docker,
    registry: &Registry,
    tag: &str,
    image: &Image,
    archive: Vec<u8>,
) -> Result<String, DockerError> {
    // It is never started.
    let body = ContainerCreateBody { image: Some(image.id.clone()), cmd: Some(vec!["/".into()]), ..Default::default() };
    let made = docker.create_container(None::<CreateContainerOptions>, body).await;
    let container = made.map_err(failed("make a container of the image"))?.id;
    let filled = async {
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let sent = docker.upload_to_container(&container, Some(options), bollard::body_full(archive.into()));
        sent.await.map_err(failed("copy files into the image"))?;
        let options =
            CommitContainerOptionsBuilder::default().container(&container).repo(registry.name()).tag(tag).build();
        let about = [(labels::IMAGE.to_owned(), image.id.clone())].into();
        let config = ContainerConfig { labels: Some(about), ..Default::default() };
        docker.commit_container(options, config).await.map_err(failed("make the image"))
    };
    let committed = filled.await;
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    if let Err(error) = docker.remove_container(&container, Some(options)).await {
        tracing::warn!(container, %error, "a container made to build an image can't be removed");
    }
    committed.map(|image| image.id)
}

async fn push(docker: &Docker, registry: &Registry, tag: &str) -> Result<(), SwarmError> {
    let options = PushImageOptionsBuilder::default().tag(tag).build();
    let pushed = docker
        .push_image(registry.name(), Some(options), registry.login())
        .try_for_each(|_progress| async { Ok(()) })
        .await;
    pushed.map_err(failed("push the image")).map_err(|error| no_registry(registry, error))
}
