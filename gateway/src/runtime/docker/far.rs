//! Connections to an engine of another machine: TLS, or a program there over the system's `ssh`.
//!
//! `ssh` is the gateway's user's own: its configuration, keys and agent decide who lets us in. Host keys are checked whatever that
//! configuration says, and nothing is forwarded. A machine that goes away without a word is noticed on both ways: by the kernel's
//! keep-alives, and by `ssh`'s own.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::errors::Error as ApiFailure;
use bollard::{BollardRequest, ClientVersion, Docker};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::socket::{setsockopt, sockopt};
use openshell_api::ssh;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::address::Address;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// What of `ssh`'s complaints is kept, in bytes.
const LAST_WORDS: usize = 2048;
/// Nobody is there to be asked, and a machine that says nothing is gone.
const UNATTENDED: [&str; 5] = [
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=10",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
];
/// What answers there: the engine that Docker's own command line would ask.
const THERE: &str = "docker system dial-stdio";

/// The way to one engine.
#[derive(Clone)]
pub(super) struct Far {
    address: Address,
    /// What `ssh` said when it last gave up.
    said: Arc<Mutex<String>>,
}

impl Far {
    /// To this address. Connects nowhere yet.
    pub fn to(address: Address) -> Self {
        Self { address, said: Arc::default() }
    }

    /// A client whose requests take this way.
    pub fn client(&self, patience_s: u64, version: &ClientVersion) -> Result<Docker, ApiFailure> {
        let client = Client::builder(TokioExecutor::new()).build(self.clone());
        let transport = move |request: BollardRequest| {
            let asked = client.request(request);
            async move { asked.await.map_err(ApiFailure::from) }
        };
        // The connector knows the way; the name is what the engine sees as its host.
        Docker::connect_with_custom_transport(transport, Some("http://docker"), patience_s, version)
    }

    /// What `ssh` said last, if it gave up.
    pub fn last_words(&self) -> Option<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).trim().to_owned();
        (!said.is_empty()).then_some(said)
    }

    /// All is well: what `ssh` said before is of no matter any more.
    pub fn forget_words(&self) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn connect(self) -> io::Result<TokioIo<Way>> {
        let connecting = async {
            match &self.address {
                Address::Tls { authority, server, connector } => {
                    let tcp = TcpStream::connect(authority).await?;
                    tcp.set_nodelay(true)?;
                    keep_alive(&tcp)?;
                    let tls = connector.connect(server.clone(), tcp).await?;
                    Ok(Way { ends: Box::new(tls), _child: None })
                }
                Address::Ssh { destination, port } => self.ssh(destination, *port),
            }
        };
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(connected) => connected.map(TokioIo::new),
            Err(_) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {} s", CONNECT.as_secs())))
            }
        }
    }

    fn ssh(&self, destination: &str, port: Option<u16>) -> io::Result<Way> {
        let mut command = Command::new(ssh::program());
        for option in UNATTENDED.into_iter().chain(ssh::CONFINED) {
            command.args(["-o", option]);
        }
        if let Some(port) = port {
            command.args(["-p", &port.to_string()]);
        }
        command.args(["--", destination, THERE]).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| io::Error::new(error.kind(), format!("can't run ssh: {error}")))?;
        let (Some(output), Some(input), Some(mut complaints)) =
            (child.stdout.take(), child.stdin.take(), child.stderr.take())
        else {
            return Err(io::Error::other("ssh has no pipes"));
        };
        let said = self.said.clone();
        tokio::spawn(async move {
            let mut text = Vec::new();
            let _ = (&mut complaints).take(LAST_WORDS as u64).read_to_end(&mut text).await;
            if !text.is_empty() {
                *said.lock().unwrap_or_else(PoisonError::into_inner) = String::from_utf8_lossy(&text).into_owned();
            }
            // The rest is read too, or ssh would wait for us.
            let _ = tokio::io::copy(&mut complaints, &mut tokio::io::sink()).await;
        });
        Ok(Way { ends: Box::new(tokio::io::join(output, input)), _child: Some(child) })
    }
}

impl tower::Service<http::Uri> for Far {
    type Response = TokioIo<Way>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Way>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

/// A connection that stands idle is asked for a sign of life after 10 s; without one it ends within 30 s.
fn keep_alive(tcp: &TcpStream) -> io::Result<()> {
    setsockopt(tcp, sockopt::KeepAlive, &true)?;
    setsockopt(tcp, sockopt::TcpKeepIdle, &10)?;
    setsockopt(tcp, sockopt::TcpKeepInterval, &5)?;
    setsockopt(tcp, sockopt::TcpKeepCount, &4)?;
    setsockopt(tcp, sockopt::TcpUserTimeout, &30_000)?;
    Ok(())
}

trait Ends: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Ends for T {}

/// A connection.
pub(super) struct Way {
    ends: Box<dyn Ends>,
    /// Ends with the connection.
    _child: Option<Child>,
}

impl AsyncRead for Way {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.ends).poll_read(cx, buf)
    }
}

impl AsyncWrite for Way {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.ends).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.ends).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.ends).poll_shutdown(cx)
    }
}

impl Connection for Way {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
