//! Images: pulled if need be, and what a sandbox takes from one.

use bollard::Docker;
use bollard::models::{ContainerCreateBody, ImageInspect};
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptionsBuilder, DownloadFromContainerOptionsBuilder,
    RemoveContainerOptionsBuilder,
};
use futures_util::TryStreamExt as _;

use super::engine::{DockerError, failed};
use super::files::{Owner, only_file};

/// As whom a sandbox runs whose image names root or nobody.
pub(super) const NOBODY: Owner = Owner { uid: 65532, gid: 65532 };

/// What a sandbox takes from its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    /// `sha256:<hex>`.
    pub id: String,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Its `WORKDIR`, if it has one.
    pub workdir: Option<String>,
    /// Its `USER`; never root.
    pub owner: Owner,
}

/// Looks an image up, and pulls it if the engine has none of that name.
pub(super) async fn resolve(docker: &Docker, name: &str) -> Result<Image, DockerError> {
    let found = match inspect(docker, name).await {
        Err(error) if error.is_absent() => {
            pull(docker, name).await?;
            inspect(docker, name).await?
        }
        other => other?,
    };
    read(docker, name, found).await
}

/// The image that a container was made from, by its id. Nothing is pulled: no other one will do.
pub(super) async fn of_container(docker: &Docker, id: &str) -> Result<Image, DockerError> {
    let found = docker.inspect_image(id).await.map_err(failed("inspect the image that the container was made from"))?;
    read(docker, id, found).await
}

async fn read(docker: &Docker, name: &str, found: ImageInspect) -> Result<Image, DockerError> {
    let id = found.id.unwrap_or_default();
    let config = found.config.unwrap_or_default();
    let user = config.user.unwrap_or_default();
    let owner = match numeric(&user) {
        Some(owner) => owner,
        None => named(docker, name, &id, &user).await?,
    };
    let pair = |text: String| text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    Ok(Image {
        id,
        env: config.env.unwrap_or_default().into_iter().filter_map(pair).collect(),
        workdir: config.working_dir.filter(|dir| dir.starts_with('/') && dir != "/"),
        owner,
    })
}

async fn inspect(docker: &Docker, name: &str) -> Result<ImageInspect, DockerError> {
    docker.inspect_image(name).await.map_err(failed("inspect the image"))
}

async fn pull(docker: &Docker, name: &str) -> Result<(), DockerError> {
    tracing::info!(image = name, "pulling");
    let options = CreateImageOptionsBuilder::default().from_image(&tagged(name)).build();
    let pulled = docker.create_image(Some(options), None, None).try_for_each(|_progress| async { Ok(()) }).await;
    pulled.map_err(|error| DockerError::NoImage {
        image: name.to_owned(),
        detail: match failed("pull the image")(error) {
            DockerError::Refused { message, .. } => message,
            other => other.to_string(),
        },
    })
}

/// A name without tag or digest means the tag `latest`; the engine would pull all of them.
pub(super) fn tagged(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") }
}

/// `USER` where it needs no look into the image: absent, numbers, or root, whose place [`NOBODY`] takes. A group that is
/// absent or root's becomes the user's own number.
pub(super) fn numeric(user: &str) -> Option<Owner> {
    let (uid, gid) = user.split_once(':').unwrap_or((user, ""));
    let uid: u32 = match uid {
        "" | "root" => 0,
        uid => uid.parse().ok()?,
    };
    let gid: u32 = match gid {
        "" | "root" => 0,
        gid => gid.parse().ok()?,
    };
    Some(owner(uid, gid))
}

fn owner(uid: u32, gid: u32) -> Owner {
    match (uid, gid) {
        (0, _) => NOBODY,
        (uid, 0) => Owner { uid, gid: uid },
        (uid, gid) => Owner { uid, gid },
    }
}

/// A `USER` of names, looked up in the image's `/etc/passwd` and `/etc/group`.
async fn named(docker: &Docker, image: &str, id: &str, user: &str) -> Result<Owner, DockerError> {
    // Files of an image can be read through a container alone; this one is never started.
    let body = ContainerCreateBody { image: Some(id.to_owned()), cmd: Some(vec!["/".into()]), ..Default::default() };
    let made = docker.create_container(None::<CreateContainerOptions>, body).await;
    let container = made.map_err(failed("look into the image"))?.id;
    let read = async {
        let passwd = text(docker, &container, "/etc/passwd").await?;
        let group = text(docker, &container, "/etc/group").await?;
        look_up(user, &passwd, &group)
            .ok_or_else(|| DockerError::NoUser { image: image.to_owned(), user: user.to_owned() })
    };
    let found = read.await;
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    if let Err(error) = docker.remove_container(&container, Some(options)).await {
        tracing::warn!(container, %error, "a container made to look into an image can't be removed");
    }
    found
}

/// A file of a container; empty where there is none.
async fn text(docker: &Docker, container: &str, path: &str) -> Result<String, DockerError> {
    let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
    let packed = docker.download_from_container(container, Some(options)).try_collect::<Vec<_>>().await;
    match packed.map_err(failed("read a file of the image")) {
        Ok(chunks) => {
            let unreadable = |error: std::io::Error| DockerError::Failed {
                doing: "read a file of the image",
                detail: error.to_string(),
            };
            Ok(String::from_utf8_lossy(&only_file(&chunks.concat()).map_err(unreadable)?).into_owned())
        }
        Err(error) if error.is_absent() => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// Finds `user[:group]`, names or numbers, in passwd(5) and group(5).
pub(super) fn look_up(user: &str, passwd: &str, group: &str) -> Option<Owner> {
    let (user, wanted) = user.split_once(':').unwrap_or((user, ""));
    let line = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == user);
    let (uid, own): (u32, u32) = match &line {
        Some(fields) => (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?),
        None => (user.parse().ok()?, 0),
    };
    let gid = match wanted {
        "" => own,
        wanted => match wanted.parse() {
            Ok(number) => number,
            Err(_) => {
                let mut groups = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
                groups.find(|fields| fields[0] == wanted)?.get(2)?.parse().ok()?
            }
        },
    };
    Some(owner(uid, gid))
}
