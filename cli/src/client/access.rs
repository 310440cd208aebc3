//! What it takes to talk to a gateway.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use reqwest::header::HeaderMap;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::service_token::ServiceToken;

use crate::error::Error;

/// Whose certificates are taken for a gateway's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those of the authorities that this machine trusts.
    System,
    /// Those of the authorities in this PEM text, and no others.
    Only(Vec<u8>),
    /// Those of both.
    Also(Vec<u8>),
    /// Those of the authorities in this PEM file as it is then, and no others: of a gateway here, which may turn its authority while a
    /// command runs.
    File(PathBuf),
}

/// Where connections go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// To the host that the URL names.
    Network,
    /// To this Unix socket: the near end of a tunnel.
    Socket(PathBuf),
}

/// Keeps the way to a gateway good while time passes: opens its tunnel again, renews its session.
#[async_trait::async_trait]
pub trait Keeper: Send + Sync {
    /// Where to connect now.
    async fn door(&self) -> Result<Door, Error> {
        Ok(Door::Network)
    }

    /// The bearer token to send now (RFC 6750); `None`: who asks is known by what stands in front of the gateway.
    async fn bearer(&self) -> Result<Option<String>, Error>;
}

/// A token that stays as it is.
pub struct Token(pub String);

#[async_trait::async_trait]
impl Keeper for Token {
    async fn bearer(&self) -> Result<Option<String>, Error> {
        Ok(Some(self.0.clone()))
    }
}

/// Nobody: what is asked needs no token.
pub struct Nobody;

#[async_trait::async_trait]
impl Keeper for Nobody {
    async fn bearer(&self) -> Result<Option<String>, Error> {
        Ok(None)
    }
}

/// All it takes to talk to a gateway.
#[derive(Clone)]
pub struct Access {
    /// `https://host[:port][/prefix]`, without a slash at its end.
    pub url: String,
    /// Whom to believe that it is the gateway.
    pub trust: Trust,
    /// What lets requests pass a Cloudflare Access in front of it; absent: none does, or none is needed.
    pub service_token: Option<ServiceToken>,
    /// How to get there, and as whom.
    pub keeper: Arc<dyn Keeper>,
}

impl Access {
    /// To a gateway on the network, with a token.
    pub fn with_token(url: String, trust: Trust, token: String) -> Self {
        Self { url, trust, service_token: None, keeper: Arc::new(Token(token)) }
    }

    /// Headers that every request bears, whoever asks.
    pub fn headers(&self) -> HeaderMap {
        self.service_token.as_ref().map(ServiceToken::headers).unwrap_or_default()
    }

    /// TLS towards the gateway.
    pub fn tls(&self, protocols: &[&[u8]]) -> Result<rustls::ClientConfig, Error> {
        self.trust.tls(&self.url, protocols)
    }
}

impl Trust {
    /// TLS towards this URL that trusts whom it should. Refuses text that holds no certificate.
    pub fn tls(&self, url: &str, protocols: &[&[u8]]) -> Result<rustls::ClientConfig, Error> {
        let untrusted = |reason: String| Error::Untrusted { url: url.to_owned(), reason };
        let authorities = match self {
            Trust::System => None,
            Trust::Only(pem) | Trust::Also(pem) => Some(Cow::Borrowed(pem)),
            Trust::File(path) => {
                let read = std::fs::read(path).map_err(Error::io(format!("read {}", path.display())));
                Some(Cow::Owned(read?))
            }
        };
        let mut roots = rustls::RootCertStore::empty();
        if matches!(self, Trust::System | Trust::Also(_)) {
            // One that can't be read is one that is not trusted.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        for certificate in CertificateDer::pem_slice_iter(authorities.as_deref().map_or(&[][..], Vec::as_slice)) {
            let certificate = certificate.map_err(|error| untrusted(error.to_string()))?;
            roots.add(certificate).map_err(|error| untrusted(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(untrusted("no certificate authority is trusted here".into()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| untrusted(error.to_string()))?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("url", &self.url).finish_non_exhaustive()
    }
}
