//! Asks a backend that is left alone whether it is back, so that no caller waits to find out. A probe asks for the list of models: it holds
//! nothing of any request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openshell_api::inference::{Backend, BackendKind};
use openshell_inference_format::endpoint::Endpoint;
use tokio::time::timeout;

use super::head;
use super::health::Health;
use super::service::BoxError;
use super::upstream::Transport;
use crate::active::{Live, Secrets};

/// A backend that takes longer to answer a probe is not back.
const PATIENCE: Duration = Duration::from_secs(5);

/// What probes need.
#[derive(Clone)]
pub struct Probes {
    pub health: Arc<Health>,
    pub transport: Arc<dyn Transport>,
    pub live: Live,
    pub secrets: Secrets,
}

impl Probes {
    /// Probes a backend after `pause`, then at growing intervals, until it is alive, a caller was served by it, or it is gone from the
    /// catalogue.
    pub fn watch(&self, backend: &str, mut pause: Duration) {
        let (probes, name) = (self.clone(), backend.to_owned());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                if !probes.health.is_probed(&name) {
                    return;
                }
                let active = probes.live.load_full();
                let Some(backend) = active.catalogue.backends.iter().find(|backend| backend.name.as_str() == name)
                else {
                    return probes.health.unprobed(&name);
                };
                let alive = match timeout(PATIENCE, probes.alive(backend)).await {
                    Ok(Ok(alive)) => alive,
                    Ok(Err(error)) => {
                        tracing::debug!(backend = %name, error = &*error, "a probe failed");
                        false
                    }
                    Err(_) => false,
                };
                match probes.health.probed(&name, Instant::now(), alive) {
                    Some(next) => pause = next,
                    None => return,
                }
            }
        });
    }

    /// Whatever it says of its models, it is there; but for what servers say that are not well.
    async fn alive(&self, backend: &Backend) -> Result<bool, BoxError> {
        let secrets = self.secrets.0.load_full();
        let key = backend.provider.as_ref().and_then(|provider| secrets.get(provider.as_str()));
        let operation = if backend.kind == BackendKind::Anthropic { Endpoint::Messages } else { Endpoint::Chat };
        let none = http::HeaderMap::new();
        let headers = head::for_backend(&none, backend.kind, operation, false, key.map(String::as_str))?;
        let status = self.transport.models(backend, headers).await?;
        Ok(!status.is_server_error() && status != http::StatusCode::TOO_MANY_REQUESTS)
    }
}
