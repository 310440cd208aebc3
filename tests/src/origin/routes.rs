//! What an origin answers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write as _;
use std::path::{Component, Path};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde::{Deserialize, Serialize};

use super::{OriginConfig, chat, messages, responses};

/// A request that reached an origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers; of repeated ones, the last.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: String,
}

pub(super) type Body = BoxBody<Bytes, Infallible>;

pub(super) async fn answer(
    request: Request<Incoming>,
    config: &OriginConfig,
    seen: &Mutex<Vec<Seen>>,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|collected| collected.to_bytes()).unwrap_or_default();
    remember(config, seen, &parts, &body);
    let path = parts.uri.path();
    Ok(match (parts.method.clone(), path) {
        (Method::POST, "/v1/chat/completions") => chat::completions(&config.name, &body),
        (Method::POST, "/v1/completions") => chat::legacy(&config.name),
        (Method::POST, "/v1/responses") => responses::responses(&config.name, &body),
        (Method::POST, "/v1/embeddings") => chat::embeddings(&body),
        (Method::POST, "/v1/messages") => messages::messages(&config.name, &body),
        (Method::POST, "/v1/messages/count_tokens") => messages::count(&body),
        (Method::GET, "/sse") => events(),
        (Method::GET, "/trailers") => trailers(),
        (Method::GET, _) => file(config.directory.as_deref(), path),
        (Method::HEAD, _) => {
            // HTTP/2 servers send whatever body they are given, and HEAD has none (RFC 9110 § 9.3.2).
            let (head, _) = file(config.directory.as_deref(), path).into_parts();
            Response::from_parts(head, BodyExt::boxed(Full::default()))
        }
        (method, path) => {
            let echo = serde_json::json!({"method": method.as_str(), "path": path, "bytes": body.len()});
            json(StatusCode::CREATED, &echo)
        }
    })
}

fn remember(config: &OriginConfig, seen: &Mutex<Vec<Seen>>, parts: &http::request::Parts, body: &[u8]) {
    let request = Seen {
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: text_headers(&parts.headers),
        body: String::from_utf8_lossy(body).into_owned(),
    };
    if let Some(path) = &config.log
        && let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path)
        && let Ok(mut line) = serde_json::to_vec(&request)
    {
        line.push(b'\n');
        let _ = file.write_all(&line);
    }
    let mut seen = seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // A load test must not grow an origin for ever.
    if seen.len() < 100_000 {
        seen.push(request);
    }
}

fn text_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

fn file(directory: Option<&Path>, path: &str) -> Response<Body> {
    let relative = Path::new(path.trim_start_matches('/'));
    let inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
    let relative = if path.len() > 1 && path.ends_with('/') { &relative.join("index.html") } else { relative };
    let found = directory.filter(|_| inside).and_then(|directory| std::fs::read(directory.join(relative)).ok());
    let kind = match relative.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    };
    match found {
        Some(bytes) => respond(StatusCode::OK, kind, bytes.into()),
        None if directory.is_none() || path == "/" => {
            respond(StatusCode::OK, "text/plain", "hello from the origin\n".into())
        }
        None => respond(StatusCode::NOT_FOUND, "text/plain", "no such file\n".into()),
    }
}

fn events() -> Response<Body> {
    let frames = stream::iter(0..5).then(|n| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(Frame::data(Bytes::from(format!("data: {n}\n\n"))))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/event-stream"));
    response
}

/// A stream of these events, one every few milliseconds.
pub(super) fn events_of(events: Vec<String>) -> Response<Body> {
    let frames = stream::iter(events).then(|event| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(Frame::data(Bytes::from(format!("{event}\n\n"))))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/event-stream"));
    response
}

fn trailers() -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", http::HeaderValue::from_static("abc"));
    let frames = stream::iter([Ok(Frame::data(Bytes::from_static(b"body"))), Ok(Frame::trailers(trailers))]);
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert("trailer", http::HeaderValue::from_static("x-checksum"));
    response
}

pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    respond(status, "application/json", value.to_string().into())
}

pub(super) fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static(content_type));
    response
}
