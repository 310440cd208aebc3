//! The client: chat completions over HTTP/1.1 on kept connections, with or without TLS.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::proxies::load::trusting;

type Sender = SendRequest<Full<Bytes>>;

/// A prompt of 100 bytes.
const PROMPT: &str =
    "What is the capital of France, and how many people live there, roughly, counting its suburbs as well?";

/// What to ask, and where.
#[derive(Debug, Clone, Args)]
pub struct Ask {
    /// Host name.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port.
    #[arg(long)]
    pub port: u16,
    /// Certificates to trust, PEM: speak TLS.
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// A header: `name: value`.
    #[arg(long = "header")]
    pub headers: Vec<String>,
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

/// What a client measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Whole answers: time until the last byte.
    Whole,
    /// Streams: time until the first byte of the body.
    First,
    /// One slow stream for each connection: its longest silence.
    Streams,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// Answers.
    pub answers: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Median of what was measured, in nanoseconds.
    pub median_ns: f64,
    /// The time that 99 of 100 stay below, in nanoseconds.
    pub p99_ns: f64,
}

/// Asks until the time is over. Fails with the first request that does; of streams only those count that end well.
pub async fn run(ask: Ask) -> Result<Outcome> {
    let ask = Arc::new(ask);
    let connector = ask.ca.as_deref().map(trusting).transpose()?;
    // One request first: certificates are minted and pools filled outside the measurement.
    let mut first = connect(&ask, connector.as_ref()).await?;
    exchange(&mut first, &ask, Mode::Whole).await?;
    let start = Instant::now();
    let end = start + Duration::from_secs(ask.seconds);
    let clients = (0..ask.connections).map(|_| tokio::spawn(client(Arc::clone(&ask), connector.clone(), end)));
    let mut times = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        match client.await? {
            Ok(some) => times.extend(some),
            Err(error) if ask.mode == Mode::Streams => eprintln!("a stream did not end well: {error:#}"),
            Err(error) => return Err(error),
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let answers = times.len() as u64;
    let samples = crate::report::Samples::from(times);
    Ok(Outcome { answers, seconds, median_ns: samples.quantile(0.5), p99_ns: samples.quantile(0.99) })
}

async fn client(ask: Arc<Ask>, connector: Option<TlsConnector>, end: Instant) -> Result<Vec<f64>> {
    let mut sender = connect(&ask, connector.as_ref()).await?;
    let mut times = Vec::new();
    loop {
        times.push(exchange(&mut sender, &ask, ask.mode).await?.as_nanos() as f64);
        if ask.mode == Mode::Streams || Instant::now() >= end {
            return Ok(times);
        }
        if sender.is_closed() {
            sender = connect(&ask, connector.as_ref()).await?;
        }
    }
}

async fn exchange(sender: &mut Sender, ask: &Ask, mode: Mode) -> Result<Duration> {
    sender.ready().await?;
    let prompt = if mode == Mode::Streams { "Answer slowly." } else { PROMPT };
    let stream = if mode == Mode::Whole { "" } else { "\"stream\":true," };
    let body = format!(r#"{{"model":"small",{stream}"messages":[{{"role":"user","content":"{prompt}"}}]}}"#);
    let mut request = Request::post("/v1/chat/completions").header("host", &ask.host);
    request = request.header("content-type", "application/json").header("authorization", "Bearer none");
    for header in &ask.headers {
        let (name, value) = header.split_once(": ").with_context(|| format!("{header:?} is no header"))?;
        request = request.header(name, value);
    }
    let start = Instant::now();
    let mut answer = sender.send_request(request.body(Full::new(body.into()))?).await?;
    if answer.status() != 200 {
        let text = answer.into_body().collect().await?.to_bytes();
        bail!("answered with an error: {}", String::from_utf8_lossy(&text));
    }
    let (mut first, mut longest, mut last) = (None, Duration::ZERO, Instant::now());
    let mut tail = Vec::new();
    while let Some(frame) = answer.frame().await {
        let frame = frame?;
        let Some(data) = frame.data_ref().filter(|data| !data.is_empty()) else { continue };
        first.get_or_insert_with(|| start.elapsed());
        longest = longest.max(last.elapsed());
        last = Instant::now();
        tail.extend_from_slice(data);
        tail.drain(..tail.len().saturating_sub(32));
    }
    if mode != Mode::Whole {
        ensure!(tail.windows(6).any(|part| part == b"[DONE]"), "a stream broke off");
    }
    match mode {
        Mode::Whole => Ok(start.elapsed()),
        Mode::First => first.context("an answer without a body"),
        Mode::Streams => Ok(longest),
    }
}

async fn connect(ask: &Ask, connector: Option<&TlsConnector>) -> Result<Sender> {
    let stream = TcpStream::connect((ask.host.as_str(), ask.port)).await?;
    stream.set_nodelay(true)?;
    let Some(connector) = connector else {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        return Ok(sender);
    };
    let name = ServerName::try_from(ask.host.clone())?;
    let stream = connector.connect(name, stream).await.context("TLS")?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
