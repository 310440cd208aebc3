//! The client: HTTP/1.1 over TLS, straight or through CONNECT, on kept or new connections.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

type Sender = SendRequest<Empty<bytes::Bytes>>;

/// What to send, and where.
#[derive(Debug, Clone, Args)]
pub struct Load {
    /// Host name of the origin.
    #[arg(long)]
    pub host: String,
    /// Its port.
    #[arg(long)]
    pub port: u16,
    /// `host:port` of a proxy that is asked with CONNECT.
    #[arg(long)]
    pub proxy: Option<String>,
    /// Certificates to trust, PEM.
    #[arg(long)]
    pub ca: PathBuf,
    /// What to do.
    #[arg(long, value_enum)]
    pub mode: Mode,
    /// At once.
    #[arg(long, default_value_t = 1)]
    pub connections: u32,
    /// How long.
    #[arg(long, default_value_t = 3)]
    pub seconds: u64,
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Small requests on kept connections.
    Requests,
    /// A new connection and TLS session for each request.
    Handshakes,
    /// Large answers.
    Bulk,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// Answers.
    pub answers: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Median time of one, in nanoseconds.
    pub median_ns: f64,
    /// The time that 99 of 100 stay below, in nanoseconds.
    pub p99_ns: f64,
}

/// Sends until the time is over. Fails with the first request that does.
pub async fn run(load: Load) -> Result<Outcome> {
    let load = Arc::new(load);
    let connector = connector(&load)?;
    // One request first: certificates are minted and pools filled outside the measurement.
    exchange(&mut connect(&load, &connector).await?, &load, "/").await?;
    let start = Instant::now();
    let end = start + Duration::from_secs(load.seconds);
    let clients = (0..load.connections).map(|_| tokio::spawn(client(Arc::clone(&load), connector.clone(), end)));
    let (mut times, mut bytes) = (Vec::new(), 0);
    for client in clients.collect::<Vec<_>>() {
        let (some, read) = client.await??;
        times.extend(some);
        bytes += read;
    }
    let seconds = start.elapsed().as_secs_f64();
    let answers = times.len() as u64;
    let samples = crate::report::Samples::from(times);
    Ok(Outcome { answers, bytes, seconds, median_ns: samples.quantile(0.5), p99_ns: samples.quantile(0.99) })
}

async fn client(load: Arc<Load>, connector: TlsConnector, end: Instant) -> Result<(Vec<f64>, u64)> {
    let path = if load.mode == Mode::Bulk { "/bulk" } else { "/" };
    let (mut times, mut bytes) = (Vec::new(), 0);
    let mut kept = None;
    while Instant::now() < end {
        let start = Instant::now();
        let mut sender = match kept.take() {
            Some(sender) => sender,
            None => connect(&load, &connector).await?,
        };
        bytes += exchange(&mut sender, &load, path).await?;
        times.push(start.elapsed().as_nanos() as f64);
        if load.mode != Mode::Handshakes {
            kept = Some(sender);
        }
    }
    Ok((times, bytes))
}

async fn exchange(sender: &mut Sender, load: &Load, path: &str) -> Result<u64> {
    sender.ready().await?;
    let host = format!("{}:{}", load.host, load.port);
    let request = Request::get(path).header("host", host).body(Empty::new())?;
    let mut answer = sender.send_request(request).await?;
    ensure!(answer.status() == 200, "answered {}", answer.status());
    let mut bytes = 0;
    while let Some(frame) = answer.frame().await {
        bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(bytes)
}

async fn connect(load: &Load, connector: &TlsConnector) -> Result<Sender> {
    let mut stream = match &load.proxy {
        Some(proxy) => TcpStream::connect(proxy).await?,
        None => TcpStream::connect((load.host.as_str(), load.port)).await?,
    };
    stream.set_nodelay(true)?;
    if load.proxy.is_some() {
        let head = format!("CONNECT {0}:{1} HTTP/1.1\r\nHost: {0}:{1}\r\n\r\n", load.host, load.port);
        stream.write_all(head.as_bytes()).await?;
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            ensure!(stream.read_buf(&mut seen).await? > 0, "the proxy hung up");
        }
        ensure!(seen.starts_with(b"HTTP/1.1 200"), "the proxy said {}", String::from_utf8_lossy(&seen));
    }
    let name = ServerName::try_from(load.host.clone())?;
    let stream = connector.connect(name, stream).await.context("TLS")?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn connector(load: &Load) -> Result<TlsConnector> {
    trusting(&load.ca)
}

/// Trusts these certificates, PEM. Without resumption: each connection is a full handshake.
pub fn trusting(ca: &Path) -> Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).with_context(|| ca.display().to_string())? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}
