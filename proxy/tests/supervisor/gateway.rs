//! A gateway that says what a test tells it to, and answers what it heard.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use openshell_api::generation::SignedGeneration;
use openshell_api::link::{ExecStream, FromSupervisor, MAX_CHUNK, ToSupervisor};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// A test that hears nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Listens on loopback, with a certificate of its own.
pub struct Gateway {
    listener: TcpListener,
    tls: TlsAcceptor,
    pub ca: String,
    pub url: String,
}

/// One link.
pub struct Link {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    pub path: String,
    pub authorization: String,
    /// It was said that the workload runs; it may be said before an activation is acknowledged.
    pub running: bool,
}

/// What came on a link.
#[derive(Debug)]
pub enum Heard {
    Said(FromSupervisor),
    Bytes { channel: u64, stream: u8, data: Bytes },
}

impl Gateway {
    pub async fn open() -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)
            .expect("TLS settings");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://{}", listener.local_addr().expect("its address"));
        Self { listener, tls: TlsAcceptor::from(Arc::new(config)), ca: certificate.pem(), url }
    }

    /// The next link that comes to be; those whose handshake fails don't count.
    pub async fn accept(&self) -> Link {
        tokio::time::timeout(PATIENCE, self.accepted()).await.expect("a supervisor dials")
    }

    // The callback's error type is tungstenite's.
    #[allow(clippy::result_large_err)]
    async fn accepted(&self) -> Link {
        loop {
            let (tcp, _) = self.listener.accept().await.expect("a connection");
            let Ok(tls) = self.tls.accept(tcp).await else { continue };
            let (mut path, mut authorization) = (String::new(), String::new());
            let read = |request: &Request, response: Response| {
                path = request.uri().path().to_owned();
                let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
                authorization = header.unwrap_or_default().to_owned();
                Ok(response)
            };
            let Ok(socket) = tokio_tungstenite::accept_hdr_async(tls, read).await else { continue };
            return Link { socket, path, authorization, running: false };
        }
    }

    /// How many connections it takes until a handshake succeeds is of no matter here; this answers whether one failed.
    pub async fn refuses_handshake(&self) -> bool {
        let (tcp, _) = self.listener.accept().await.expect("a connection");
        self.tls.accept(tcp).await.is_err()
    }
}

impl Link {
    pub async fn say(&mut self, message: &ToSupervisor) {
        self.say_text(serde_json::to_string(message).expect("it serializes")).await;
    }

    pub async fn say_text(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.expect("the link is up");
    }

    pub async fn bytes(&mut self, channel: u64, data: &[u8]) {
        let mut frame = BytesMut::new();
        frame.put_u64(channel);
        frame.put_slice(data);
        self.socket.send(Message::Binary(frame.freeze())).await.expect("the link is up");
    }

    pub async fn input(&mut self, channel: u64, data: &[u8]) {
        self.bytes(channel, &[&[ExecStream::Stdin as u8], data].concat()).await;
    }

    /// The next thing heard; `None`: the link has ended. Stores records and lines only if a test says so.
    pub async fn hear(&mut self) -> Option<Heard> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("something is heard");
            match message {
                Some(Ok(Message::Text(text))) => {
                    let said = serde_json::from_str(&text).expect("a supervisor says what it should");
                    self.running |= matches!(said, FromSupervisor::Running);
                    return Some(Heard::Said(said));
                }
                Some(Ok(Message::Binary(mut bytes))) => {
                    let (channel, stream) = (bytes.get_u64(), bytes.get_u8());
                    return Some(Heard::Bytes { channel, stream, data: bytes });
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
            }
        }
    }

    /// What `pick` picks of what is said; all else is passed over.
    pub async fn until<T>(&mut self, mut pick: impl FnMut(FromSupervisor) -> Option<T>) -> T {
        loop {
            match self.hear().await.expect("the link is up") {
                Heard::Said(message) => {
                    if let Some(picked) = pick(message) {
                        return picked;
                    }
                }
                Heard::Bytes { .. } => {}
            }
        }
    }

    /// The generation in the supervisor's hello.
    pub async fn hello(&mut self) -> u64 {
        match self.hear().await.expect("the link is up") {
            Heard::Said(FromSupervisor::Hello { generation, .. }) => generation,
            other => panic!("the first message is {other:?}"),
        }
    }

    /// Stages and answers what was said to that: `need …`, `staged` or the refusal's reason.
    pub async fn stage(&mut self, name: &str, generation: SignedGeneration) -> String {
        self.say(&ToSupervisor::Stage { push: name.to_owned(), generation }).await;
        self.outcome(name).await
    }

    /// Activates and answers what was said to that.
    pub async fn activate(&mut self, name: &str) -> String {
        self.say(&ToSupervisor::Activate { push: name.to_owned() }).await;
        self.outcome(name).await
    }

    /// The next thing said about a push.
    pub async fn outcome(&mut self, name: &str) -> String {
        self.until(|message| match message {
            FromSupervisor::Need { push, digests, have, .. } if push == name => {
                let having = have.first().map(|newest| format!(" having {newest}")).unwrap_or_default();
                Some(format!("need {}{having}", digests.join(" ")))
            }
            FromSupervisor::Staged { push } if push == name => Some("staged".to_owned()),
            FromSupervisor::Refused { push, reason } if push == name => Some(reason),
            FromSupervisor::Enforcing { push, generation, .. } if push == name => {
                Some(format!("enforcing {generation}"))
            }
            _ => None,
        })
        .await
    }

    /// Sends an artifact, in pieces.
    pub async fn artifact(&mut self, channel: u64, digest: &str, bytes: &[u8]) {
        self.patch(channel, digest, None, bytes).await;
    }

    /// Sends an artifact, or what makes it of another, in pieces.
    pub async fn patch(&mut self, channel: u64, digest: &str, base: Option<&str>, bytes: &[u8]) {
        self.send(channel, digest, base, false, bytes).await;
    }

    /// Sends an artifact compressed, in pieces.
    pub async fn compressed(&mut self, channel: u64, digest: &str, frame: &[u8]) {
        self.send(channel, digest, None, true, frame).await;
    }

    async fn send(&mut self, channel: u64, digest: &str, base: Option<&str>, zstd: bool, bytes: &[u8]) {
        let (digest, base, size) = (digest.to_owned(), base.map(str::to_owned), bytes.len() as u64);
        self.say(&ToSupervisor::Artifact { digest, channel, size, base, zstd }).await;
        self.part(channel, bytes).await;
    }

    /// Announces an artifact of this size, and sends its beginning.
    pub async fn beginning(&mut self, channel: u64, digest: &str, size: usize, bytes: &[u8]) {
        let (digest, size) = (digest.to_owned(), size as u64);
        self.say(&ToSupervisor::Artifact { digest, channel, size, base: None, zstd: false }).await;
        self.part(channel, bytes).await;
    }

    async fn part(&mut self, channel: u64, bytes: &[u8]) {
        for chunk in bytes.chunks(MAX_CHUNK) {
            self.bytes(channel, chunk).await;
        }
    }

    /// Reads on until the link ends.
    pub async fn ended(mut self) {
        while self.hear().await.is_some() {}
    }
}
