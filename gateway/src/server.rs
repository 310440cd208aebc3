//! The listener: TLS, HTTP/1.1 and HTTP/2, and an orderly end.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use openshell_api::status::Endpoint;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tower::Layer as _;

use crate::gateway::{Gateway, Options, StartError};
use crate::http::Peer;
use crate::identity::Source;
use crate::identity::tokens::ADMIN_TOKEN_FILE;
use crate::state_dir::{LINK_SOCKET, StateDir, StateDirError};
use crate::store::KEEP_LOG_LINES;

/// The port that it had last.
pub(crate) const PORT_FILE: &str = "port";
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
const H2_PING: Duration = Duration::from_secs(30);
const MAX_STREAMS: u32 = 128;
/// How long open calls may take to end once the gateway stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How often what is bounded is cut back.
const TRIM_EVERY: Duration = Duration::from_secs(60);
const KEEP_DECISIONS: i64 = 2_000_000;

/// A gateway that answers.
pub struct Running {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// Where it answers.
    pub endpoint: Endpoint,
    accepting: Vec<JoinHandle<()>>,
}

impl Running {
    /// Locks the state directory, brings everything up, listens, and says so in `endpoint.json`.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let dir = StateDir::open(&options.state_dir)?;
        let listener = listen(&dir, options.listen).await?;
        let address = listener.local_addr().map_err(|source| StartError::Listen { address: options.listen, source })?;
        let gateway = Box::pin(Gateway::open(dir, &options, address)).await?;
        let endpoint = Endpoint {
            url: gateway.url.clone(),
            ca: gateway.authority.path().to_string_lossy().into_owned(),
            token_file: gateway.dir.path(ADMIN_TOKEN_FILE).to_string_lossy().into_owned(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let socket = listen_for_supervisors(&gateway.dir.link())?;
        let server = Server::new(gateway.clone(), TlsAcceptor::from(gateway.authority.server()?));
        let mut router = crate::http::router(gateway.clone());
        if let Some(prefix) = options.public_url.as_ref().and_then(|url| url.prefix()) {
            router = axum::Router::new().nest_service(prefix, router.clone()).fallback_service(router);
        }
        let supervisors = crate::http::supervisor_router(gateway.clone());
        let mut doors = vec![(Door::Network(listener), router.clone()), (Door::Supervisors(socket), supervisors)];
        if let Some(path) = &options.proxy_socket {
            let failed = |source| StartError::ProxySocket { path: path.clone(), source };
            doors.push((Door::Proxy(listen_for_proxy(path).map_err(failed)?), router));
        }
        let accepting =
            doors.into_iter().map(|(door, router)| tokio::spawn(server.clone().accept(door, router))).collect();
        tokio::spawn(trim(gateway.clone()));
        tokio::spawn(gateway.store.follow_trail());
        tokio::spawn(crate::rollout::watch(gateway.clone()));
        tokio::spawn(crate::providers::refresh::keep_fresh(gateway.clone()));
        tokio::spawn(crate::exports::run(gateway.clone()));
        gateway.dir.publish(&endpoint)?;
        tracing::info!(url = endpoint.url, "the gateway answers");
        Ok(Self { gateway, endpoint, accepting })
    }

    /// Ends calls and links in order, then lets the state directory go. Sandboxes go on.
    pub async fn stop(self) {
        let Self { gateway, accepting, .. } = self;
        gateway.dir.unpublish();
        gateway.stopping.cancel();
        if let Some(replicas) = &gateway.replicas
            && let Err(error) = gateway.store.forget_links(&replicas.me.id, true).await
        {
            tracing::warn!(%error, "the other gateways were not told that this one stops");
        }
        gateway.links.close_all();
        for door in accepting {
            let _ = door.await;
        }
        gateway.store.close().await;
        // Tasks that notice the end a little later hold the gateway, but nothing to write to.
        gateway.dir.release();
        tracing::info!("the gateway has stopped; its sandboxes go on");
    }
}

/// Binds. Port 0 means: the port that this directory's gateway had last, so that its supervisors find it again.
async fn listen(dir: &StateDir, address: SocketAddr) -> Result<TcpListener, StartError> {
    let path = dir.path(PORT_FILE);
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

/// Binds the socket for supervisors in containers, in a directory that may be mounted there. Whoever can enter the
/// directory may connect: the way to it leads through the state directory, which is the gateway's alone.
fn listen_for_supervisors(directory: &Path) -> Result<UnixListener, StateDirError> {
    let bind = || {
        std::fs::create_dir_all(directory)?;
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o711))?;
        // An address holds about 100 bytes; through a descriptor the length of the path does not matter.
        let open = std::fs::File::open(directory)?;
        let path = format!("/proc/self/fd/{}/{LINK_SOCKET}", std::os::fd::AsRawFd::as_raw_fd(&open));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
        Ok(listener)
    };
    bind().map_err(|source| StateDirError::Io { path: directory.join(LINK_SOCKET), source })
}

/// Binds the socket for a reverse proxy: for this user and the group of its directory. A socket that a former gateway left
/// is replaced; anything else in its place is not.
fn listen_for_proxy(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => std::fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is in its place"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // The group is the directory's where that has the set-group-ID bit, as for any file.
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Where connections come from.
enum Door {
    Network(TcpListener),
    Supervisors(UnixListener),
    /// In the clear: a proxy on this machine did the TLS.
    Proxy(UnixListener),
}

/// What both kinds of socket are to TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Door {
    /// The next connection, and who is at its other end.
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Source)> {
        match self {
            Self::Network(listener) => {
                let (stream, peer) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                Ok((Box::new(stream), Source::Address(peer.ip())))
            }
            Self::Supervisors(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), Source::Container))
            }
            Self::Proxy(listener) => {
                let (stream, _) = listener.accept().await?;
                // As one that dials from this machine: `X-Forwarded-For` is believed if the proxies that are named hold it.
                Ok((Box::new(stream), Source::Address(std::net::Ipv4Addr::LOCALHOST.into())))
            }
        }
    }
}

#[derive(Clone)]
struct Server {
    gateway: Arc<Gateway>,
    acceptor: TlsAcceptor,
    http: auto::Builder<TokioExecutor>,
}

impl Server {
    fn new(gateway: Arc<Gateway>, acceptor: TlsAcceptor) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(H2_PING)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(64 * 1024);
        Self { gateway, acceptor, http }
    }

    async fn accept(self, door: Door, router: axum::Router) {
        let graceful = GracefulShutdown::new();
        let plain = matches!(door, Door::Proxy(_));
        loop {
            let (stream, peer) = tokio::select! {
                () = self.gateway.stopping.cancelled() => break,
                accepted = door.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Most likely out of file descriptors: those in use must end first.
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            let service = TowerToHyperService::new(Extension(Peer(peer)).layer(router.clone()));
            let (server, watcher) = (self.clone(), graceful.watcher());
            tokio::spawn(async move {
                let stream = if plain {
                    stream
                } else {
                    let Some(stream) = handshake(&server.acceptor, stream, peer).await else { return };
                    Box::new(stream)
                };
                let connection = server.http.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
                if let Err(error) = watcher.watch(connection).await {
                    tracing::debug!(%peer, %error, "a connection ended early");
                }
            });
        }
        drop(door);
        let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
    }
}

async fn handshake(
    acceptor: &TlsAcceptor,
    stream: Box<dyn Stream>,
    peer: Source,
) -> Option<tokio_rustls::server::TlsStream<Box<dyn Stream>>> {
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
        if !gateway.leads() {
            continue;
        }
        let trimmed = async {
            gateway.store.trim(KEEP_DECISIONS).await?;
            gateway.store.trim_logs(KEEP_LOG_LINES, &gateway.followers).await
        };
        if let Err(error) = trimmed.await {
            tracing::warn!(%error, "old records could not be cut back");
        }
    }
}
