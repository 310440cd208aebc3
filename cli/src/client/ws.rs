//! WebSockets to the gateway: authenticated, over HTTP/1.1, trusting whom the access says.

use std::sync::Arc;

use openshell_api::Problem;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::access::{Access, Door};
use super::foreign::foreign;
use super::rest::{Chain, not_connected};
use crate::error::Error;

/// What both kinds of socket are to TLS.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// An open WebSocket.
pub type Socket = WebSocketStream<TlsStream<Box<dyn Connection>>>;

/// Opens the WebSocket at a path (and query) of the gateway. An answer other than the upgrade is a [`Problem`].
pub async fn connect(access: &Access, path: &str) -> Result<Socket, Error> {
    let unreachable = |reason: String| Error::Unreachable { url: access.url.clone(), reason };
    let url = url::Url::parse(&access.url).map_err(|e| unreachable(e.to_string()))?;
    let host = url.host_str().ok_or_else(|| unreachable("its URL has no host".into()))?.to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let bare_host = host.trim_start_matches('[').trim_end_matches(']').to_owned();

    let stream: Box<dyn Connection> = match access.keeper.door().await? {
        Door::Socket(socket) => {
            Box::new(UnixStream::connect(&socket).await.map_err(|e| unreachable(format!("through its tunnel: {e}")))?)
        }
        Door::Network => {
            let tcp = TcpStream::connect((bare_host.as_str(), port)).await.map_err(|e| unreachable(e.to_string()))?;
            tcp.set_nodelay(true).map_err(|e| unreachable(e.to_string()))?;
            Box::new(tcp)
        }
    };
    let name = ServerName::try_from(bare_host).map_err(|e| unreachable(e.to_string()))?;
    // WebSockets upgrade from HTTP/1.1.
    let tls = tokio_rustls::TlsConnector::from(Arc::new(access.tls(&[b"http/1.1"])?));
    let tls = tls.connect(name, stream).await.map_err(|e| not_connected(access, &e))?;

    let authority = url.port().map_or(host.clone(), |port| format!("{host}:{port}"));
    let websocket_url = format!("wss://{authority}{}{path}", url.path().trim_end_matches('/'));
    let mut request = websocket_url.into_client_request().map_err(|e| unreachable(e.to_string()))?;
    request.headers_mut().extend(access.headers());
    if let Some(bearer) = access.keeper.bearer().await? {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {bearer}"))
            .map_err(|_| unreachable("the token is not a header value".into()))?;
        bearer.set_sensitive(true);
        request.headers_mut().insert("authorization", bearer);
    }
    match tokio_tungstenite::client_async(request, tls).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => Err(Error::Refused(refusal(&response))),
        Err(error) => Err(unreachable(Chain(&error).to_string())),
    }
}

fn refusal(response: &tungstenite::http::Response<Option<Vec<u8>>>) -> Problem {
    let body = response.body().as_deref().unwrap_or_default();
    let status = response.status().as_u16();
    let location = response.headers().get("location").and_then(|value| value.to_str().ok());
    serde_json::from_slice(body).unwrap_or_else(|_| foreign(status, location, "a WebSocket"))
}
