//! A sandbox's link that another gateway holds, as a link of this one: what is said on it goes to that gateway and from there to the
//! supervisor. The other end is `link/relayed`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{AUTHORIZATION, HeaderValue};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use url::Url;

use crate::gateway::Gateway;
use crate::link::outgoing::{Next, Outgoing};
use crate::link::relayed::{PING_EVERY, SILENCE};
use crate::link::{Link, relayed};
use crate::store::Replica;
use crate::upstream::bare_host;

/// Longest time until a relay is up.
const CONNECT: Duration = Duration::from_secs(3);
/// One that nobody has used for so many pings is closed.
const IDLE: u32 = 15;
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

type Socket = WebSocketStream<tokio_rustls::client::TlsStream<TcpStream>>;

/// Why a sandbox can't be reached through the gateway that it is linked to.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Its URL is none.
    #[error("{0:?} is no URL of a gateway")]
    Url(String),
    /// No connection.
    #[error("connecting: {0}")]
    Connect(#[from] std::io::Error),
    /// TLS.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// It did not take the relay.
    #[error("it does not relay: {0}")]
    Refused(#[from] Box<tungstenite::Error>),
    /// It said something else.
    #[error("it answered out of turn")]
    OutOfTurn,
    /// It is not there.
    #[error("no answer within {} s", CONNECT.as_secs())]
    Silent,
}

/// Opens a relay.
pub(crate) async fn open(gateway: &Arc<Gateway>, to: &Replica, sandbox_id: &str) -> Result<Arc<Link>, RelayError> {
    let connected = tokio::time::timeout(CONNECT, connect(gateway, to, sandbox_id)).await;
    let (socket, number) = connected.map_err(|_| RelayError::Silent)??;
    let (link, outgoing) = Link::relayed(sandbox_id, number);
    tokio::spawn(carry(gateway.clone(), link.clone(), outgoing, socket));
    Ok(link)
}

async fn connect(gateway: &Gateway, to: &Replica, sandbox_id: &str) -> Result<(Socket, u64), RelayError> {
    let wrong = || RelayError::Url(to.url.clone());
    let url: Url = to.url.parse().map_err(|_| wrong())?;
    let host = bare_host(&url).ok_or_else(wrong)?.to_owned();
    let tcp = TcpStream::connect((host.as_str(), url.port_or_known_default().unwrap_or(443))).await?;
    tcp.set_nodelay(true)?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(gateway.authority.trusted().pem.as_bytes()).flatten() {
        roots.add(certificate)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerName::try_from(host).map_err(|_| wrong())?;
    let tls = TlsConnector::from(Arc::new(config)).connect(server, tcp).await?;
    let path = format!("wss://{}{}{sandbox_id}", authority(&url), relayed::PATH);
    let mut request = path.into_client_request().map_err(Box::new)?;
    let token = gateway.replicas.as_ref().map(|replicas| replicas.token()).unwrap_or_default();
    let mut authorization = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| wrong())?;
    authorization.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, authorization);
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(MAX_MESSAGE);
    config.max_frame_size = Some(MAX_MESSAGE);
    let opening = tokio_tungstenite::client_async_with_config(request, tls, Some(config));
    let (mut socket, _) = Box::pin(opening).await.map_err(Box::new)?;
    // Its number on the link, so that no two relays use the same channels.
    let first = socket.next().await.ok_or(RelayError::OutOfTurn)?.map_err(Box::new)?;
    let number = first.to_text().ok().and_then(|text| text.parse().ok()).ok_or(RelayError::OutOfTurn)?;
    Ok((socket, number))
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

async fn carry(gateway: Arc<Gateway>, link: Arc<Link>, mut outgoing: Outgoing, socket: Socket) {
    let (mut sink, mut stream) = socket.split();
    let writing = async {
        let (mut ping, mut idle) = (tokio::time::interval(PING_EVERY), 0);
        loop {
            let message = tokio::select! {
                biased;
                next = outgoing.next() => match next {
                    Next::Control(message) => match serde_json::to_string(&message) {
                        Ok(text) => Message::text(text),
                        Err(_) => return,
                    },
                    Next::Data(frame) => Message::Binary(frame),
                },
                _ = ping.tick() => {
                    // Nobody but this task and whoever keeps the way has it.
                    idle = if Arc::strong_count(&link) > 2 { 0 } else { idle + 1 };
                    if idle > IDLE {
                        return;
                    }
                    Message::Ping(Bytes::new())
                }
            };
            if sink.send(message).await.is_err() {
                return;
            }
        }
    };
    let reading = async {
        while let Ok(Some(Ok(message))) = tokio::time::timeout(SILENCE, stream.next()).await {
            let taken = match message {
                Message::Text(text) => relayed::take(&gateway, &link, &text).await,
                Message::Binary(frame) => relayed::take_bytes(&link, &frame).await,
                Message::Close(_) => return,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
            };
            if let Err(fault) = taken {
                return tracing::warn!(sandbox = link.sandbox_id(), %fault, "a relay was ended");
            }
        }
    };
    tokio::select! {
        () = link.ended() => {}
        () = writing => {}
        () = reading => {}
    }
    let _ = tokio::time::timeout(Duration::from_secs(1), sink.close()).await;
    link.tear_down();
}
