//! The listener: TLS, HTTP/1.1 and HTTP/2, and an orderly end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use openshell_api::status::Endpoint;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::auth::ADMIN_TOKEN_FILE;
use crate::gateway::{Gateway, Options, StartError};
use crate::state_dir::StateDir;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
const H2_PING: Duration = Duration::from_secs(30);
const MAX_STREAMS: u32 = 128;
/// How long open calls may take to end once the gateway stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How often what is bounded is cut back.
const TRIM_EVERY: Duration = Duration::from_secs(60);
const KEEP_DECISIONS: i64 = 500_000;
const KEEP_LOG_LINES: i64 = 50_000;

/// A gateway that answers.
pub struct Running {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// Where it answers.
    pub endpoint: Endpoint,
    accepting: JoinHandle<()>,
}

impl Running {
    /// Locks the state directory, brings everything up, listens, and says so in `endpoint.json`.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let dir = StateDir::open(&options.state_dir)?;
        let listener = listen(&dir, options.listen).await?;
        let address = listener.local_addr().map_err(|source| StartError::Listen { address: options.listen, source })?;
        let (gateway, identity) = Gateway::open(dir, &options, address).await?;
        let endpoint = Endpoint {
            url: gateway.url.clone(),
            ca: identity.ca_path.to_string_lossy().into_owned(),
            token_file: gateway.dir.path(ADMIN_TOKEN_FILE).to_string_lossy().into_owned(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let acceptor = TlsAcceptor::from(identity.server);
        let accepting = tokio::spawn(accept(gateway.clone(), listener, acceptor));
        tokio::spawn(trim(gateway.clone()));
        gateway.dir.publish(&endpoint)?;
        tracing::info!(url = endpoint.url, "the gateway answers");
        Ok(Self { gateway, endpoint, accepting })
    }

    /// Ends calls and links in order, then lets the state directory go. Sandboxes go on.
    pub async fn stop(self) {
        let Self { gateway, accepting, .. } = self;
        gateway.dir.unpublish();
        gateway.stopping.cancel();
        gateway.links.close_all();
        let _ = accepting.await;
        gateway.store.close().await;
        // Tasks that notice the end a little later hold the gateway, but nothing to write to.
        gateway.dir.release();
        tracing::info!("the gateway has stopped; its sandboxes go on");
    }
}

/// Binds. Port 0 means: the port that this directory's gateway had last, so that its supervisors find it again.
async fn listen(dir: &StateDir, address: SocketAddr) -> Result<TcpListener, StartError> {
    let path = dir.path("port");
    if address.port() == 0
        && let Some(port) = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u16>().ok())
        && let Ok(listener) = TcpListener::bind((address.ip(), port)).await
    {
        return Ok(listener);
    }
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    crate::state_dir::write_private(&path, port.to_string().as_bytes())?;
    Ok(listener)
}

async fn accept(gateway: Arc<Gateway>, listener: TcpListener, acceptor: TlsAcceptor) {
    let service = TowerToHyperService::new(crate::http::router(gateway.clone()));
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(64 * 1024);
    let graceful = GracefulShutdown::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = gateway.stopping.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Most likely out of file descriptors: those in use must end first.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let (acceptor, http, service, watcher) = (acceptor.clone(), http.clone(), service.clone(), graceful.watcher());
        tokio::spawn(async move {
            let Some(stream) = handshake(acceptor, stream, peer.ip()).await else { return };
            let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: IpAddr,
) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    let _ = stream.set_nodelay(true);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

async fn trim(gateway: Arc<Gateway>) {
    let mut every = tokio::time::interval(TRIM_EVERY);
    loop {
        tokio::select! {
            () = gateway.stopping.cancelled() => return,
            _ = every.tick() => {}
        }
        if let Err(error) = gateway.store.trim(KEEP_DECISIONS, KEEP_LOG_LINES).await {
            tracing::warn!(%error, "old records could not be cut back");
        }
    }
}
