//! An origin on loopback: static files, an echo, server-sent events, trailers, and an OpenAI-compatible model.
//!
//! It writes down every request it saw, so that a test can say what reached it and what never did.

mod chat;
mod messages;
mod responses;
mod routes;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub use routes::Seen;
pub use tls::Authority;

/// What an origin serves and how it calls itself.
#[derive(Debug, Clone, Default)]
pub struct OriginConfig {
    /// Named in the model's answers.
    pub name: String,
    /// Static files for `GET`; absent: none.
    pub directory: Option<PathBuf>,
    /// Append each request seen as a JSON line here.
    pub log: Option<PathBuf>,
}

/// A running origin; it lives until its runtime ends.
#[derive(Clone)]
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Origin {
    /// Starts serving on `listener`, over TLS with a certificate for `names` when an authority is given.
    pub fn start(
        listener: TcpListener,
        config: OriginConfig,
        tls: Option<(&Authority, &[String])>,
    ) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        let acceptor = match tls {
            Some((authority, names)) => Some(TlsAcceptor::from(Arc::new(authority.server_config(names)?))),
            None => None,
        };
        let seen = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(accept(listener, Arc::new(config), acceptor, seen.clone()));
        Ok(Self { address, seen })
    }

    /// Forgets what was seen.
    pub fn forget(&self) {
        self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clear();
    }

    /// Every request seen so far, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

async fn accept(
    listener: TcpListener,
    config: Arc<OriginConfig>,
    acceptor: Option<TlsAcceptor>,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (config, acceptor, seen) = (config.clone(), acceptor.clone(), seen.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            match acceptor {
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, config, seen).await;
                    }
                }
                None => serve(stream, config, seen).await,
            }
        });
    }
}

async fn serve<S>(stream: S, config: Arc<OriginConfig>, seen: Arc<Mutex<Vec<Seen>>>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (config, seen) = (config.clone(), seen.clone());
        async move { routes::answer(request, &config, &seen).await }
    });
    // The peer hanging up is an ordinary end.
    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
}
