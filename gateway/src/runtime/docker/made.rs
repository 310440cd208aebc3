//! What a sandbox's container was made with, as its engine remembers it: names of images and networks may mean others by now.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::InspectContainerOptions;

use super::container::Mode;
use super::engine::{DockerError, failed};
use super::{container_name, labels};

/// A container that there is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Made {
    /// Id of its image, `sha256:<hex>`.
    pub image: String,
    /// With what power its supervisor raises the walls.
    pub mode: Mode,
    /// Ids of its networks, by name. Empty: it knows that one by name alone.
    pub networks: HashMap<String, String>,
}

impl Made {
    /// Asks the engine. `None`: the sandbox has no container.
    pub async fn find(docker: &Docker, sandbox: &str) -> Result<Option<Self>, DockerError> {
        let found = docker.inspect_container(&container_name(sandbox), None::<InspectContainerOptions>).await;
        match found.map_err(failed("inspect the container")) {
            Ok(found) => Ok(Some(Self::of(found))),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the engine's answer.
    pub fn of(found: ContainerInspectResponse) -> Self {
        let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
        let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        Self {
            image: found.image.unwrap_or_default(),
            mode: Mode::of_word(labels.get(labels::MODE).map(String::as_str)),
            networks: networks.into_iter().filter_map(|(name, joined)| Some((name, joined.network_id?))).collect(),
        }
    }
}
