//! The network of sandboxes that name none. An engine lets two networks have one name, and then takes the name for neither: gateways that
//! make it at the same moment agree on the oldest.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::ListNetworksOptionsBuilder;

use super::engine::{DockerError, failed};
use super::labels;

/// Its name. Containers in it can't reach one another.
pub(super) const NAME: &str = "openshell";

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
