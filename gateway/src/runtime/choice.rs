//! The runtimes of a gateway as one: which sandbox is in which, and where a new one goes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openshell_api::sandbox::{CreateSandbox, RuntimeKind};

use super::docker::DockerRuntime;
use super::{Places, Runtime, RuntimeError, Start};
use crate::error::{ApiResult, refuse};

/// All runtimes. Sandboxes that were never [assigned](Runtimes::assign) count as `process`.
pub struct Runtimes {
    process: Arc<dyn Runtime>,
    docker: Option<Arc<DockerRuntime>>,
    /// Where a sandbox goes that names none; absent: `docker` where an engine answers, else `process`.
    preferred: Option<RuntimeKind>,
    /// A gateway that is in a container itself has nowhere to put processes.
    containers_only: bool,
    places: Mutex<HashMap<String, RuntimeKind>>,
}

impl Runtimes {
    /// Puts them together.
    pub fn new(process: Arc<dyn Runtime>, docker: Option<Arc<DockerRuntime>>, preferred: Option<RuntimeKind>) -> Self {
        Self { process, docker, preferred, containers_only: false, places: Mutex::default() }
    }

    /// The same, where sandboxes are containers or none.
    pub fn containers_only(self) -> Self {
        Self { containers_only: true, preferred: Some(RuntimeKind::Docker), ..self }
    }

    /// Where a new sandbox goes. Refuses a runtime that isn't there, and what the chosen one can't honour.
    pub async fn choose(&self, spec: &CreateSandbox) -> ApiResult<RuntimeKind> {
        let kind = match (spec.runtime, &spec.image, self.preferred) {
            (Some(asked), ..) => asked,
            (None, Some(_), _) => RuntimeKind::Docker,
            (None, None, Some(preferred)) => preferred,
            (None, None, None) => match &self.docker {
                Some(docker) if docker.answers().await => RuntimeKind::Docker,
                _ => RuntimeKind::Process,
            },
        };
        if kind == RuntimeKind::Docker && self.docker.is_none() {
            return Err(
                refuse(422, "runtime_unavailable", "this gateway has no runtime docker").hint("it has: process")
            );
        }
        if kind == RuntimeKind::Process && self.containers_only {
            let why = "this gateway is in a container itself: it has no runtime process";
            return Err(refuse(422, "runtime_unavailable", why).hint("it has: docker"));
        }
        match self.by_kind(kind).refusal(spec) {
            Some(why) => Err(refuse(422, "unsupported_option", why)),
            None => Ok(kind),
        }
    }

    /// Says in which runtime a sandbox is.
    pub fn assign(&self, id: &str, kind: RuntimeKind) {
        self.table().insert(id.to_owned(), kind);
    }

    /// Those in which a sandbox can be made now.
    pub async fn available(&self) -> Vec<RuntimeKind> {
        let mut kinds = if self.containers_only { Vec::new() } else { vec![RuntimeKind::Process] };
        if let Some(docker) = &self.docker
            && docker.answers().await
        {
            kinds.push(RuntimeKind::Docker);
        }
        kinds
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<String, RuntimeKind>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn by_kind(&self, kind: RuntimeKind) -> &dyn Runtime {
        match (kind, &self.docker) {
            (RuntimeKind::Docker, Some(docker)) => docker.as_ref(),
            _ => self.process.as_ref(),
        }
    }

    fn of(&self, id: &str) -> &dyn Runtime {
        let kind = self.table().get(id).copied();
        self.by_kind(kind.unwrap_or(RuntimeKind::Process))
    }

    /// As [`Runtime::places`].
    pub fn places(&self, id: &str) -> Places {
        self.of(id).places(id)
    }

    /// As [`Runtime::hidden`].
    pub fn hidden(&self, id: &str) -> Vec<String> {
        self.of(id).hidden()
    }

    /// As [`Runtime::start`].
    pub async fn start(&self, start: &Start) -> Result<(), RuntimeError> {
        self.of(&start.launch.sandbox_id).start(start).await
    }

    /// As [`Runtime::weaken`].
    pub async fn weaken(&self, start: &Start) -> Result<bool, RuntimeError> {
        self.of(&start.launch.sandbox_id).weaken(start).await
    }

    /// As [`Runtime::alive`].
    pub async fn alive(&self, id: &str) -> Result<bool, RuntimeError> {
        self.of(id).alive(id).await
    }

    /// As [`Runtime::wait`].
    pub async fn wait(&self, id: &str) {
        self.of(id).wait(id).await;
    }

    /// As [`Runtime::ending`].
    pub async fn ending(&self, id: &str) -> Option<String> {
        self.of(id).ending(id).await
    }

    /// As [`Runtime::stop`].
    pub async fn stop(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        self.of(id).stop(id, grace).await
    }

    /// As [`Runtime::remove`].
    pub async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        self.of(id).remove(id).await?;
        self.table().remove(id);
        Ok(())
    }

    /// As [`Runtime::log_tail`].
    pub async fn log_tail(&self, id: &str, lines: usize) -> String {
        self.of(id).log_tail(id, lines).await
    }

    /// As [`Runtime::traces`], of all runtimes; each is assigned to where it was found. What an engine that does not
    /// answer holds is not among them.
    pub async fn traces(&self) -> Result<Vec<String>, RuntimeError> {
        let mut found = self.process.traces().await?;
        if let Some(docker) = &self.docker {
            match docker.traces().await {
                Ok(ids) => {
                    for id in ids {
                        self.assign(&id, RuntimeKind::Docker);
                        found.push(id);
                    }
                }
                Err(error) => tracing::warn!(%error, "sandboxes in Docker can't be looked for"),
            }
        }
        Ok(found)
    }
}
