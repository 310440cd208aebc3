//! The gateway's own CA and the certificate it serves. The CA turns without a stop: the new one is vouched for by the one
//! before, so that who trusts either talks to the gateway, until everybody has learned of the new one.

mod certificates;
mod turn;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rcgen::{Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};

use crate::state_dir::{StateDir, StateDirError};
use turn::Turn;
pub(crate) use turn::settle;
pub use turn::{CaKeys, TURN_FILE};

/// The CA's private key.
pub const CA_KEY_FILE: &str = "ca.key";
/// The CA's certificate.
pub const CA_FILE: &str = "ca.pem";

/// Why there is no TLS identity, or no other CA.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Files.
    #[error(transparent)]
    Files(#[from] StateDirError),
    /// Certificates.
    #[error("the gateway's certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS.
    #[error("the gateway's TLS could not be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The CA's file is not PEM text.
    #[error("{0} is not a PEM file")]
    NotPem(PathBuf),
    /// The CA before this one is still trusted.
    #[error("the CA has turned already, and the one before is still trusted")]
    Turning,
    /// There is no CA before this one.
    #[error("no CA before this one is trusted")]
    NotTurning,
}

/// Whom to trust, and since when: a greater number is newer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    /// Seconds since 1970 when it was last changed; 0: never.
    pub epoch: u64,
    /// The CA's certificate, and that of the one before, while it is trusted.
    pub pem: String,
}

/// The CA of a gateway, and what it serves TLS with.
pub struct Authority {
    dir: PathBuf,
    listen: IpAddr,
    served: Arc<Served>,
    state: Mutex<State>,
}

struct State {
    pem: String,
    turn: Turn,
    /// What else it is called than this machine's names.
    called: Vec<String>,
}

/// The certificate of now, for every handshake that begins.
#[derive(Debug)]
struct Served(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Served {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Authority {
    /// Reads the CA (or makes one) and mints a fresh server certificate: for this machine's names, the address it listens on, and what else
    /// it is called. Ends a turn that was cut off.
    pub fn open(dir: &StateDir, listen: IpAddr, called: Option<&str>) -> Result<Self, TlsError> {
        turn::settle(dir.root())?;
        let (pem, key) = read_or_make(dir)?;
        let turn = Turn::read(dir.root())?;
        let called: Vec<String> = called.map(str::to_owned).into_iter().collect();
        let served = served(&Issuer::from_ca_cert_pem(&pem, key)?, &turn, listen, &called)?;
        Ok(Self {
            dir: dir.root().to_owned(),
            listen,
            served: Arc::new(Served(RwLock::new(Arc::new(served)))),
            state: Mutex::new(State { pem, turn, called }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the acceptor: HTTP/2 and HTTP/1.1.
    pub fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.served.clone());
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(server))
    }

    /// The file of the CA's certificate.
    pub fn path(&self) -> PathBuf {
        self.dir.join(CA_FILE)
    }

    /// Whom clients and supervisors are to trust.
    pub fn trusted(&self) -> Trusted {
        let state = self.state();
        let previous = state.turn.previous.as_ref().map_or("", |previous| previous.pem.as_str());
        Trusted { epoch: state.turn.epoch, pem: format!("{}{previous}", state.pem) }
    }

    /// Since when the CA that is has been there, as [`Trusted::epoch`]. Who was told then, or later, trusts it.
    pub fn since(&self) -> u64 {
        self.state().turn.since
    }

    /// Fingerprints of the CA and of the one before, while that is trusted.
    pub fn fingerprints(&self) -> (String, Option<String>) {
        let state = self.state();
        (of_pem(&state.pem), state.turn.previous.as_ref().map(|previous| of_pem(&previous.pem)))
    }

    /// The CA with its key.
    pub fn keys(&self) -> Result<CaKeys, TlsError> {
        let _steady = self.state();
        CaKeys::read(&self.dir)
    }

    /// A new CA, made and not taken. The one before vouches for it, and its key is not kept.
    pub fn turned(&self) -> Result<CaKeys, TlsError> {
        let state = self.state();
        if state.turn.previous.is_some() {
            return Err(TlsError::Turning);
        }
        let old = self.issuer(&state)?;
        let key = KeyPair::generate()?;
        let params = certificates::ca_params(&key)?;
        let cross = params.signed_by(&key, &old)?.pem();
        let pem = params.self_signed(&key)?.pem();
        Ok(CaKeys { key: key.serialize_pem(), pem, turn: state.turn.to(state.pem.clone(), cross) })
    }

    /// The CA that is, without the one before: who trusts that one alone will no longer talk to this gateway.
    pub fn finished(&self) -> Result<CaKeys, TlsError> {
        let mut keys = self.keys()?;
        keys.turn = keys.turn.finished().ok_or(TlsError::NotTurning)?;
        Ok(keys)
    }

    /// Takes a CA in the place of the one that is, durably, and serves its certificate from the next handshake on.
    pub fn take(&self, next: &CaKeys) -> Result<(), TlsError> {
        let mut state = self.state();
        let issuer = Issuer::from_ca_cert_pem(&next.pem, KeyPair::from_pem(&next.key)?)?;
        let served = served(&issuer, &next.turn, self.listen, &state.called)?;
        next.write(&self.dir)?;
        (state.pem, state.turn) = (next.pem.clone(), next.turn.clone());
        self.serve(served);
        Ok(())
    }

    /// Answers to these hosts, too, from the next handshake on.
    pub fn answer_to(&self, hosts: impl IntoIterator<Item = String>) -> Result<(), TlsError> {
        let mut state = self.state();
        let mut called = state.called.clone();
        for host in hosts {
            if !called.contains(&host) {
                called.push(host);
            }
        }
        if called != state.called {
            self.serve(served(&self.issuer(&state)?, &state.turn, self.listen, &called)?);
            state.called = called;
        }
        Ok(())
    }

    /// The CA that is, with its key.
    fn issuer(&self, state: &State) -> Result<Issuer<'static, KeyPair>, TlsError> {
        let key = KeyPair::from_pem(&text(&self.dir.join(CA_KEY_FILE))?)?;
        Ok(Issuer::from_ca_cert_pem(&state.pem, key)?)
    }

    fn serve(&self, served: CertifiedKey) {
        *self.served.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(served);
    }
}

/// The CA's certificate and key; made on first use.
fn read_or_make(dir: &StateDir) -> Result<(String, KeyPair), TlsError> {
    let ca_path = dir.path(CA_FILE);
    let mut failure = None;
    let key_pem = dir.read_or_create(CA_KEY_FILE, || match KeyPair::generate() {
        Ok(key) => Ok(key.serialize_pem().into_bytes()),
        Err(error) => {
            failure = Some(error);
            Err(StateDirError::BadKey { path: dir.path(CA_KEY_FILE) })
        }
    });
    if let Some(error) = failure {
        return Err(error.into());
    }
    let key_pem = String::from_utf8(key_pem?).map_err(|_| TlsError::NotPem(dir.path(CA_KEY_FILE)))?;
    let key = KeyPair::from_pem(&key_pem)?;
    if ca_path.exists() {
        return Ok((text(&ca_path)?, key));
    }
    let pem = certificates::ca_params(&key)?.self_signed(&key)?.pem();
    crate::state_dir::write_private(&ca_path, pem.as_bytes())?;
    Ok((pem, key))
}

/// A fresh server certificate, and what leads from it to a CA that is trusted.
fn served(
    issuer: &Issuer<'_, KeyPair>,
    turn: &Turn,
    listen: IpAddr,
    called: &[String],
) -> Result<CertifiedKey, TlsError> {
    let (certificate, key) = certificates::server(issuer, listen, called)?;
    let cross = turn.previous.iter().flat_map(|previous| CertificateDer::pem_slice_iter(previous.cross.as_bytes()));
    let chain = std::iter::once(certificate.der().clone()).chain(cross.flatten()).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Ok(CertifiedKey::from_der(chain, key, &provider)?)
}

/// Refuses what is no authority's key and certificate.
pub fn check(key: &[u8], certificate: &[u8]) -> Result<(), TlsError> {
    let text = |bytes: &[u8], name: &str| {
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| TlsError::NotPem(PathBuf::from(name)))
    };
    let key = KeyPair::from_pem(&text(key, CA_KEY_FILE)?)?;
    Issuer::from_ca_cert_pem(&text(certificate, CA_FILE)?, key)?;
    Ok(())
}

fn text(path: &std::path::Path) -> Result<String, TlsError> {
    let failed = |source| StateDirError::Io { path: path.to_owned(), source };
    String::from_utf8(std::fs::read(path).map_err(failed)?).map_err(|_| TlsError::NotPem(path.to_owned()))
}

/// Of a certificate: `sha256:<hex>` of its DER.
fn of_pem(pem: &str) -> String {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map(|der| fingerprint(&der));
    format!("sha256:{}", der.unwrap_or_default())
}

fn fingerprint(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests;
