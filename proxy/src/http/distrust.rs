//! Clients that don't trust the certificate they are shown: nothing else tells why they do not work.
//!
//! Some say so, in an alert. Others end the handshake and hang up without a word, for they look at the certificate only then: Node.js,
//! much of what uses GnuTLS, whoever pins a key. These are suspected and never known: a connection that was opened ahead and is not
//! needed may end in the same way.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use openshell_api::decision::Stage;
use rustls::AlertDescription as Alert;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::refusal::Cause;
use super::relay::Severable;
use super::session::Session;

/// Who closes later than this, and has sent nothing, may just not have needed the connection.
const AT_ONCE: Duration = Duration::from_secs(2);
/// In the record of a suspicion.
const SUSPECTED: &str = "client_tls_suspected";
/// What a client says that found the certificate wanting.
const ABOUT_TRUST: [Alert; 7] = [
    Alert::BadCertificate,
    Alert::UnsupportedCertificate,
    Alert::CertificateRevoked,
    Alert::CertificateExpired,
    Alert::CertificateUnknown,
    Alert::UnknownCA,
    Alert::DecryptError,
];
/// How it looks when a client hangs up.
const GONE: [io::ErrorKind; 4] = [
    io::ErrorKind::UnexpectedEof,
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::ConnectionAborted,
    io::ErrorKind::BrokenPipe,
];

/// A certificate that a client is shown, until the client has sent something.
pub(super) struct Shown {
    session: Arc<Session>,
    leaf: String,
    since: Instant,
    /// Whether the handshake is over.
    finished: bool,
    /// Whether requests would meet more than the refusal of their connection.
    served: bool,
}

impl Shown {
    pub(super) fn now(session: &Arc<Session>, leaf: String, served: bool) -> Self {
        Self { session: Arc::clone(session), leaf, since: Instant::now(), finished: false, served }
    }

    /// The handshake, or what came right after it, failed with this.
    pub(super) fn failed(&self, error: &io::Error) {
        let alert = match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
            _ => None,
        };
        match alert {
            Some(alert) if ABOUT_TRUST.contains(&alert) => self.refused(alert),
            Some(_) if self.finished => self.closed(),
            None if GONE.contains(&error.kind()) => self.closed(),
            _ => {}
        }
    }

    /// The client has said why.
    fn refused(&self, alert: Alert) {
        let Self { session, leaf, .. } = self;
        let program = session.caller.caller.process.executable.as_str();
        let detail =
            format!("{program} refused the certificate for {leaf} that the sandbox's authority signed ({alert:?})");
        session.facts.refuse(Stage::Connect, self.generation(), Cause::ClientTls, detail);
    }

    /// It has said nothing.
    fn closed(&self) {
        if !self.served || self.since.elapsed() > AT_ONCE {
            return;
        }
        let Self { session, leaf, .. } = self;
        let program = session.caller.caller.process.executable.as_str();
        let detail = format!(
            "{program} closed the connection as soon as it was shown the certificate for {leaf}, and sent nothing, as clients may that \
             pin a certificate or trust other roots"
        );
        session.facts.remark(Stage::Connect, self.generation(), SUSPECTED, detail);
    }

    fn generation(&self) -> u64 {
        self.session.proxy.enforced.now().generation()
    }
}

/// A client's stream after its handshake. Notices if the client ends it without having sent anything.
pub(super) struct Fresh<S> {
    inner: S,
    shown: Option<Box<Shown>>,
}

impl<S> Fresh<S> {
    /// `served`: as the connection is judged now.
    pub(super) fn new(inner: S, shown: Shown, served: bool) -> Self {
        let shown = Shown { since: Instant::now(), finished: true, served, ..shown };
        Self { inner, shown: Some(Box::new(shown)) }
    }

    /// The stream alone: nothing more is noticed.
    pub(super) fn into_inner(self) -> S {
        self.inner
    }

    fn notice<T>(&mut self, done: &Poll<io::Result<T>>) {
        if let Poll::Ready(Err(error)) = done
            && let Some(shown) = self.shown.take()
        {
            shown.failed(error);
        }
    }
}

impl<S: Severable> Severable for Fresh<S> {
    fn reset_on_close(&self) {
        self.inner.reset_on_close();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Fresh<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.shown.is_none() || buf.remaining() == 0 {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        match &read {
            Poll::Ready(Ok(())) => {
                let ended = buf.filled().len() == before;
                if let Some(shown) = self.shown.take().filter(|_| ended) {
                    shown.closed();
                }
            }
            _ => self.notice(&read),
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Fresh<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.notice(&written);
        written
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.notice(&written);
        written
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.notice(&flushed);
        flushed
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
