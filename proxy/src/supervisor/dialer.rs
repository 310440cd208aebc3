//! The way to the gateway: one address, one trusted CA, and the credentials of the link.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue};
use openshell_api::launch::LaunchSpec;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::either::Either;

use super::credentials::{Credentials, Shown};

/// Longest time for a connection to be up, from the first packet to the WebSocket's handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest message from the gateway, in bytes.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// A link's stream.
pub(super) type Socket = WebSocketStream<TlsStream<Either<TcpStream, UnixStream>>>;

/// Why the gateway can't be dialled as the start file says.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Not an `https://` URL with a host and nothing behind it.
    #[error("the gateway's URL {0:?} is not https://<host>[:<port>]")]
    Url(String),
    /// Its host is neither a name nor an address.
    #[error("the gateway's host: {0}")]
    Host(#[from] InvalidDnsNameError),
    /// The CA is not a PEM certificate.
    #[error("the gateway's CA is not a PEM certificate: {0}")]
    Ca(String),
    /// TLS can't be set up.
    #[error("TLS towards the gateway: {0}")]
    Tls(#[from] rustls::Error),
    /// The token holds what no header can.
    #[error("the gateway's token has forbidden characters")]
    Token,
}

/// Why a dial failed; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("connecting: {0}")]
    Connect(#[from] io::Error),
    #[error("the gateway did not accept the link: {0}")]
    Handshake(#[from] Box<tungstenite::Error>),
    #[error("the credential that the gateway gave has forbidden characters")]
    Unwritable,
    #[error("no link within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
}

/// Dials the gateway. Trusts its CA alone, not the system's roots.
pub struct Dialer {
    address: String,
    /// Dialled instead of the address.
    socket: Option<PathBuf>,
    server: ServerName<'static>,
    tls: TlsConnector,
    credentials: Arc<Credentials>,
}

impl Dialer {
    /// Reads where the gateway is and whom to trust. Refuses any URL but `https`.
    pub fn new(spec: &LaunchSpec, credentials: Arc<Credentials>) -> Result<Self, AddressError> {
        let wrong = || AddressError::Url(spec.gateway_url.clone());
        let uri = spec.gateway_url.parse::<http::Uri>().map_err(|_| wrong())?;
        if uri.scheme() != Some(&http::uri::Scheme::HTTPS) || !uri.path().trim_end_matches('/').is_empty() {
            return Err(wrong());
        }
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(spec.gateway_ca.as_bytes()) {
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
        HeaderValue::from_str(&spec.token).map_err(|_| AddressError::Token)?;
        Ok(Self {
            address: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(443)),
            socket: spec.gateway_socket.as_ref().map(PathBuf::from),
            server: ServerName::try_from(host)?,
            tls: TlsConnector::from(Arc::new(config)),
            credentials,
        })
    }

    /// Dials once.
    pub(super) async fn dial(&self) -> Result<Socket, DialError> {
        let shown = self.credentials.next();
        let dialled = tokio::time::timeout(CONNECT_TIMEOUT, self.handshake(&shown)).await;
        let dialled = dialled.map_err(|_| DialError::Timeout)?;
        if let Err(DialError::Handshake(error)) = &dialled
            && let tungstenite::Error::Http(answer) = error.as_ref()
            && matches!(answer.status().as_u16(), 401 | 403 | 429)
        {
            self.credentials.refused(&shown);
        }
        dialled
    }

    async fn handshake(&self, shown: &Shown) -> Result<Socket, DialError> {
        let stream = match &self.socket {
            Some(path) => Either::Right(UnixStream::connect(path).await?),
            None => {
                let tcp = TcpStream::connect(&self.address).await?;
                tcp.set_nodelay(true)?;
                Either::Left(tcp)
            }
        };
        let tls = self.tls.connect(self.server.clone(), stream).await?;
        let url = format!("wss://{}/v1/supervisor", self.address);
        let mut request = url.into_client_request().map_err(Box::new)?;
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {}", shown.text())).map_err(|_| DialError::Unwritable)?;
        authorization.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, authorization);
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(MAX_MESSAGE);
        config.max_frame_size = Some(MAX_MESSAGE);
        let connecting = tokio_tungstenite::client_async_with_config(request, tls, Some(config));
        let (socket, _response) = Box::pin(connecting).await.map_err(Box::new)?;
        Ok(socket)
    }
}
