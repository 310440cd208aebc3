//! TLS towards upstreams: verified against the system's roots and, where given, the operator's own. What both sides agree on
//! is chosen here, for clients too.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Which HTTP versions the caller can carry on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Versions {
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 preferred: by ALPN over TLS; in the clear with prior knowledge.
    Http2,
}

/// Why upstream TLS can't be set up at all.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The operator's own roots don't parse.
    #[error("the additional upstream roots are not PEM certificates")]
    Malformed,
    /// TLS refuses the settings.
    #[error("TLS configuration: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why a TLS session with an upstream did not come to be.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The host can't stand in a certificate.
    #[error("the host has no TLS name: {0}")]
    Name(#[from] InvalidDnsNameError),
    /// The certificate does not verify, or the handshake failed.
    #[error("TLS handshake: {0}")]
    Handshake(#[from] std::io::Error),
}

/// The cryptography of both sides. AES-128 with SHA-256 comes first, as browsers have it: processors compute both, and hardly
/// any SHA-384, which every handshake would hash its secrets with.
pub(super) fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| {
        !matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    });
    Arc::new(provider)
}

/// Client-side TLS settings, one per set of offered protocols.
pub(super) struct Trust {
    http1: TlsConnector,
    http2: TlsConnector,
    opaque: TlsConnector,
}

impl Trust {
    /// Trusts the system's roots and the PEM certificates of `additional`. Refuses PEM without a certificate in it.
    pub(super) fn new(additional: Option<&str>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(native.certs);
        if let Some(pem) = additional {
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                roots.add(certificate.map_err(|_| TrustError::Malformed)?)?;
            }
            if roots.len() == before {
                return Err(TrustError::Malformed);
            }
        }
        if roots.is_empty() {
            tracing::warn!("no trusted roots on this system: every upstream certificate will be refused");
        }
        let roots = Arc::new(roots);
        let provider = provider();
        let connector = |alpn: &[&[u8]]| -> Result<TlsConnector, rustls::Error> {
            let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(Arc::clone(&roots))
                .with_no_client_auth();
            config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
            Ok(TlsConnector::from(Arc::new(config)))
        };
        Ok(Self {
            http1: connector(&[b"http/1.1"])?,
            http2: connector(&[b"h2", b"http/1.1"])?,
            opaque: connector(&[])?,
        })
    }

    /// Performs the handshake; `None` offers no protocol. Refuses a certificate that does not verify for `host`.
    pub(super) async fn connect(
        &self,
        host: &str,
        versions: Option<Versions>,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let name = ServerName::try_from(host.to_owned())?;
        let connector = match versions {
            Some(Versions::Http1) => &self.http1,
            Some(Versions::Http2) => &self.http2,
            None => &self.opaque,
        };
        Ok(connector.connect(name, stream).await?)
    }
}
