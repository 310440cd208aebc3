//! The way to the gateway: its addresses (one, or those of its replicas), one trusted CA, and the credentials of the link.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue};
use openshell_api::launch::LaunchSpec;
use openshell_api::link::READ_BUFFER;
use rustls::pki_types::InvalidDnsNameError;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::either::Either;

use super::credentials::{Credentials, Shown};
use super::gateways::{Address, Gateways};
use super::trust::Trust;
use crate::http::names::Names;

/// Longest time for a connection to be up, from the first packet to the WebSocket's handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// The same where there is another gateway to be tried.
const MOVE_TIMEOUT: Duration = Duration::from_secs(4);

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
    #[error("no link within {} s", .0.as_secs())]
    Timeout(Duration),
}

/// Dials the gateway.
pub struct Dialer {
    gateways: Arc<Gateways>,
    /// Dialled instead of an address.
    socket: Option<PathBuf>,
    trust: Arc<Trust>,
    names: Names,
    credentials: Arc<Credentials>,
}

impl Dialer {
    /// Reads where the gateway is. Refuses any URL but `https`.
    pub fn new(
        spec: &LaunchSpec,
        credentials: Arc<Credentials>,
        gateways: Arc<Gateways>,
        trust: Arc<Trust>,
    ) -> Result<Self, AddressError> {
        gateways.begin(Address::parse(&spec.gateway_url)?);
        HeaderValue::from_str(&spec.token).map_err(|_| AddressError::Token)?;
        Ok(Self {
            gateways,
            socket: spec.gateway_socket.as_ref().map(PathBuf::from),
            names: Names::default(),
            trust,
            credentials,
        })
    }

    /// Dials each gateway once, until one takes the link.
    pub(super) async fn dial(&self) -> Result<Socket, DialError> {
        let mut addresses = self.gateways.list();
        if self.socket.is_some() {
            addresses.truncate(1);
        }
        let patience = if addresses.len() > 1 { MOVE_TIMEOUT } else { CONNECT_TIMEOUT };
        let mut failure = DialError::Timeout(patience);
        for address in addresses {
            match self.dial_at(&address, patience).await {
                Ok(socket) => {
                    self.gateways.prefer(&address);
                    return Ok(socket);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn dial_at(&self, address: &Address, patience: Duration) -> Result<Socket, DialError> {
        let shown = self.credentials.next();
        let dialled = tokio::time::timeout(patience, self.handshake(address, &shown)).await;
        let dialled = dialled.map_err(|_| DialError::Timeout(patience))?;
        if let Err(DialError::Handshake(error)) = &dialled
            && let tungstenite::Error::Http(answer) = error.as_ref()
            && matches!(answer.status().as_u16(), 401 | 403 | 429)
        {
            self.credentials.refused(&shown);
        }
        dialled
    }

    /// Connects to the first address of a gateway that takes it.
    async fn reach(&self, address: &Address) -> io::Result<TcpStream> {
        let found = match address.host.parse() {
            Ok(numeric) => vec![numeric],
            Err(_) => self.names.resolve(&address.host).await.map_err(io::Error::other)?,
        };
        let mut failure = io::Error::other(format!("{} has no address", address.host));
        for ip in found {
            match TcpStream::connect((ip, address.port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn handshake(&self, address: &Address, shown: &Shown) -> Result<Socket, DialError> {
        let stream = match &self.socket {
            Some(path) => Either::Right(UnixStream::connect(path).await?),
            None => {
                let tcp = self.reach(address).await?;
                tcp.set_nodelay(true)?;
                Either::Left(tcp)
            }
        };
        let tls = self.trust.connector().connect(address.server.clone(), stream).await?;
        let url = format!("wss://{}/v1/supervisor", address.authority);
        let mut request = url.into_client_request().map_err(Box::new)?;
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {}", shown.text())).map_err(|_| DialError::Unwritable)?;
        authorization.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, authorization);
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(MAX_MESSAGE);
        config.max_frame_size = Some(MAX_MESSAGE);
        config.read_buffer_size = READ_BUFFER;
        config.write_buffer_size = 0;
        let connecting = tokio_tungstenite::client_async_with_config(request, tls, Some(config));
        let (socket, _response) = Box::pin(connecting).await.map_err(Box::new)?;
        Ok(socket)
    }
}
