//! Calls about where sandboxes run.

use openshell_api::Name;
use openshell_api::runtime::{AddRuntime, RuntimeState, SetRuntime};
use openshell_api::sandbox::Sandbox;

use super::rest::Client;
use crate::error::Error;

/// Where a sandbox is to be started.
#[derive(Debug, Clone, Default)]
pub struct Whereto {
    /// On this one instead of the one that is lost.
    pub runtime: Option<Name>,
    /// On whichever other one fits.
    pub elsewhere: bool,
}

impl Client {
    /// `POST /v1/runtimes`.
    pub async fn add_runtime(&self, runtime: &AddRuntime) -> Result<RuntimeState, Error> {
        self.post("/v1/runtimes", runtime).await
    }

    /// `GET /v1/runtimes`.
    pub async fn runtimes(&self) -> Result<Vec<RuntimeState>, Error> {
        self.all("/v1/runtimes", &[]).await
    }

    /// `GET /v1/runtimes/{name}`.
    pub async fn runtime(&self, name: &Name) -> Result<RuntimeState, Error> {
        self.get(&format!("/v1/runtimes/{name}")).await
    }

    /// `PUT /v1/runtimes/{name}`.
    pub async fn set_runtime(&self, name: &Name, set: &SetRuntime) -> Result<RuntimeState, Error> {
        self.put(&format!("/v1/runtimes/{name}"), set).await
    }

    /// `DELETE /v1/runtimes/{name}`.
    pub async fn remove_runtime(&self, name: &Name) -> Result<(), Error> {
        self.delete(&format!("/v1/runtimes/{name}")).await
    }

    /// `POST /v1/sandboxes/{name}/start`.
    pub async fn start_sandbox(&self, name: &Name, to: &Whereto) -> Result<Sandbox, Error> {
        let query = match to {
            Whereto { runtime: Some(runtime), .. } => format!("?runtime={runtime}"),
            Whereto { elsewhere: true, .. } => "?elsewhere=true".to_owned(),
            Whereto { .. } => String::new(),
        };
        self.post(&format!("/v1/sandboxes/{name}/start{query}"), &()).await
    }
}
