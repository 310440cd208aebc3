//! A WebSocket to a gateway that trusts these authorities alone.

use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// An open one.
pub type Socket = tokio_tungstenite::WebSocketStream<tokio_rustls::client::TlsStream<TcpStream>>;

/// Opens a WebSocket to a gateway.
pub async fn websocket(url: &str, ca: &[u8], token: &str) -> Option<Socket> {
    opened(url, ca, token, None).await?.ok()
}

/// The same on behalf of a page of this origin. `None`: nobody answers whom this CA vouches for.
pub async fn opened(url: &str, ca: &[u8], token: &str, origin: Option<&str>) -> Option<Result<Socket, Error>> {
    let authority = url.strip_prefix("wss://").unwrap().split('/').next().unwrap();
    let tcp = TcpStream::connect(authority).await.ok()?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(authority.split(':').next().unwrap().to_owned()).unwrap();
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.ok()?;
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    Some(tokio_tungstenite::client_async(request, tls).await.map(|(socket, _)| socket))
}
