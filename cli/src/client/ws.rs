//! WebSockets to the gateway: authenticated, and trusting its CA alone.

use std::sync::Arc;

use openshell_api::Problem;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::Access;
use super::rest::{Chain, not_connected};
use crate::error::Error;

/// An open WebSocket.
pub type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Opens the WebSocket at a path (and query) of the gateway. An answer other than the upgrade is a [`Problem`].
pub async fn connect(access: &Access, path: &str) -> Result<Socket, Error> {
    let unreachable = |reason: String| Error::Unreachable { url: access.url.clone(), reason };
    let url = url::Url::parse(&access.url).map_err(|e| unreachable(e.to_string()))?;
    let host = url.host_str().ok_or_else(|| unreachable("its URL has no host".into()))?.to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let bare_host = host.trim_start_matches('[').trim_end_matches(']').to_owned();

    let tcp = TcpStream::connect((bare_host.as_str(), port)).await.map_err(|e| unreachable(e.to_string()))?;
    tcp.set_nodelay(true).map_err(|e| unreachable(e.to_string()))?;
    let name = ServerName::try_from(bare_host).map_err(|e| unreachable(e.to_string()))?;
    let tls = tokio_rustls::TlsConnector::from(Arc::new(tls_config(access)?));
    let tls = tls.connect(name, tcp).await.map_err(|e| not_connected(access, &e))?;

    let websocket_url = format!("wss://{host}:{port}{}{path}", url.path().trim_end_matches('/'));
    let mut request = websocket_url.into_client_request().map_err(|e| unreachable(e.to_string()))?;
    let bearer = HeaderValue::from_str(&format!("Bearer {}", access.token))
        .map_err(|_| unreachable("the token is not a header value".into()))?;
    request.headers_mut().insert("authorization", bearer);
    match tokio_tungstenite::client_async(request, tls).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => Err(Error::Refused(refusal(&response))),
        Err(error) => Err(unreachable(Chain(&error).to_string())),
    }
}

fn refusal(response: &tungstenite::http::Response<Option<Vec<u8>>>) -> Problem {
    let body = response.body().as_deref().unwrap_or_default();
    serde_json::from_slice(body).unwrap_or_else(|_| {
        let status = response.status();
        Problem::new(
            status.as_u16(),
            "foreign_answer",
            format!("a WebSocket was answered with HTTP {status} and no explanation"),
        )
    })
}

/// TLS that trusts the gateway's CA alone; HTTP/1.1, as WebSockets upgrade from it.
fn tls_config(access: &Access) -> Result<rustls::ClientConfig, Error> {
    let untrusted = |reason: String| Error::Untrusted { url: access.url.clone(), reason };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&access.ca) {
        let certificate = certificate.map_err(|e| untrusted(e.to_string()))?;
        roots.add(certificate).map_err(|e| untrusted(e.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| untrusted(e.to_string()))?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
