//! The network of sandboxes that name none. An engine lets two networks have one name, and then takes the name for neither: gateways that
//! make it at the same moment agree on the oldest. A container knows its network by id, so one that was made again is joined anew.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest};
use bollard::query_parameters::{InspectNetworkOptions, ListNetworksOptionsBuilder};

use super::engine::{DockerError, failed};
use super::labels;

/// Its name. Containers in it can't reach one another.
pub(super) const NAME: &str = "openshell";

/// Networks of the engine's own, which it finds by name.
const BUILT_IN: [&str; 4] = ["bridge", "default", "host", "none"];

/// How often it is looked for, while others let go what they made.
const LOOKS: usize = 50;

/// Makes it if there is none; answers its name once that means one network.
pub(super) async fn own(docker: &Docker) -> Result<String, DockerError> {
    let mut made = None;
    for look in 0..LOOKS {
        let found = all(docker).await?;
        match found.as_slice() {
            [] => made = make(docker).await?,
            [_one] => return Ok(NAME.to_owned()),
            [oldest, ..] => {
                // Where the other one stays, somebody saw it alone, and uses it.
                if let Some(ours) = made.take_if(|ours| ours != oldest || look > LOOKS / 2) {
                    let removed = docker.remove_network(&ours).await.map_err(failed("remove a second network"));
                    removed.or_else(|error| if error.is_absent() { Ok(()) } else { Err(error) })?;
                } else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
    Err(DockerError::Failed {
        doing: "find the network",
        detail: format!("the engine has several networks called {NAME}; remove all but one (`docker network ls`)"),
    })
}

/// Ids of the networks of that name, the oldest first.
async fn all(docker: &Docker) -> Result<Vec<String>, DockerError> {
    let filters = HashMap::from([("name", vec![NAME])]);
    let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
    let found = docker.list_networks(Some(options)).await.map_err(failed("list the networks"))?;
    let mut found: Vec<_> = found
        .into_iter()
        .filter(|network| network.name.as_deref() == Some(NAME))
        .filter_map(|network| Some((network.created.map(|at| at.to_string()), network.id?)))
        .collect();
    found.sort();
    Ok(found.into_iter().map(|(_, id)| id).collect())
}

/// Makes one; `None`: another gateway was faster.
async fn make(docker: &Docker) -> Result<Option<String>, DockerError> {
    let alone = ("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned());
    let request = NetworkCreateRequest {
        name: NAME.to_owned(),
        driver: Some("bridge".into()),
        options: Some(HashMap::from([alone])),
        labels: Some(HashMap::from([(labels::GATEWAY.into(), String::new())])),
        ..Default::default()
    };
    match docker.create_network(request).await.map_err(failed("make the network")) {
        Ok(made) => Ok(Some(made.id)),
        Err(error) if error.is_conflict() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Has a container that does not run join its network anew if another one has that name by now: the one that the container knows by this
/// id was removed, as `docker network prune` does while nothing runs in it. Refuses when there is none of that name.
pub(super) async fn rejoin(docker: &Docker, container: &str, name: &str, known: &str) -> Result<(), DockerError> {
    if known.is_empty() || BUILT_IN.contains(&name) {
        return Ok(());
    }
    let found = docker.inspect_network(name, None::<InspectNetworkOptions>).await;
    if found.map_err(failed("find the container's network"))?.id.as_deref() == Some(known) {
        return Ok(());
    }
    tracing::info!(container, network = name, "its network was made again: it joins that one");
    let leave = NetworkDisconnectRequest { container: container.to_owned(), force: Some(true) };
    docker.disconnect_network(name, leave).await.map_err(failed("take the container out of its old network"))?;
    let join = NetworkConnectRequest { container: container.to_owned(), ..Default::default() };
    docker.connect_network(name, join).await.map_err(failed("join the network"))
}
