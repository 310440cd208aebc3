//! Whom the supervisor trusts for the gateway: the CAs of its start file, until the gateway says over its link that there are newer ones.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openshell_api::launch::LaunchSpec;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsConnector;

use super::dialer::AddressError;
use super::state::{StateDir, StateError};

const FILE: &str = "gateway-ca.json";

/// What it was told last.
#[derive(Serialize, Deserialize)]
struct Told {
    epoch: u64,
    ca: String,
}

/// Why it goes on trusting whom it did.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// What it was told are no certificates.
    #[error(transparent)]
    Certificates(#[from] AddressError),
    /// It can't be kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// It can't be written.
    #[error("it can't be written as JSON: {0}")]
    Unwritable(#[from] serde_json::Error),
}

/// Whom it trusts now.
pub struct Trust {
    state: Arc<StateDir>,
    now: Mutex<Now>,
}

struct Now {
    epoch: u64,
    tls: TlsConnector,
}

impl Trust {
    /// What the start file says, or what the gateway said after that.
    pub fn open(state: Arc<StateDir>, spec: &LaunchSpec) -> Result<Self, TrustError> {
        let kept = state.read(FILE)?.and_then(|bytes| serde_json::from_slice::<Told>(&bytes).ok());
        let kept = kept.filter(|told| told.epoch > spec.gateway_ca_epoch);
        let now = match kept.and_then(|told| Some(Now { epoch: told.epoch, tls: connector(&told.ca).ok()? })) {
            Some(now) => now,
            None => Now { epoch: spec.gateway_ca_epoch, tls: connector(&spec.gateway_ca)? },
        };
        Ok(Self { state, now: Mutex::new(now) })
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when.
    pub fn epoch(&self) -> u64 {
        self.now().epoch
    }

    /// For the next link.
    pub(super) fn connector(&self) -> TlsConnector {
        self.now().tls.clone()
    }

    /// The gateway says whom to trust from now on. Kept before it is believed; what is older changes nothing.
    pub fn learn(&self, epoch: u64, ca: String) -> Result<(), TrustError> {
        let mut now = self.now();
        if epoch > now.epoch {
            let tls = connector(&ca)?;
            self.state.write(FILE, &serde_json::to_vec(&Told { epoch, ca })?)?;
            *now = Now { epoch, tls };
        }
        Ok(())
    }
}

/// TLS that trusts these CAs alone, not the system's roots.
fn connector(pem: &str) -> Result<TlsConnector, AddressError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(|error| AddressError::Ca(error.to_string()))?)?;
    }
    if roots.is_empty() {
        return Err(AddressError::Ca("it holds none".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
