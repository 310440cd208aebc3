//! Tries candidates in the router's order until one answers. Falls back before the first byte, never after.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use http::response::Parts;
use http::{HeaderMap, StatusCode};
use openshell_api::inference::{Backend, Sensitivity};
use tokio::time::timeout;

use super::clearance::Cleared;
use super::document::Document;
use super::endpoint::Endpoint;
use super::head;
use super::relay::{Relay, Terms};
use super::router::Latencies;
use super::service::BoxError;
use super::upstream::{Outgoing, Transport, idle};

/// What is to be sent, whoever gets it.
pub struct Attempts<'a> {
    pub transport: &'a dyn Transport,
    pub secrets: &'a BTreeMap<String, String>,
    pub latencies: &'a Latencies,
    pub document: &'a Document,
    pub endpoint: Endpoint,
    /// The caller's headers and query.
    pub headers: &'a HeaderMap,
    pub query: Option<&'a str>,
    /// What the request counts as.
    pub sensitivity: Sensitivity,
}

/// An answer that has begun.
pub struct Served<'a> {
    pub backend: &'a Backend,
    pub head: Parts,
    pub relay: Relay,
}

/// Why a candidate did not serve. Holds nothing of the request and no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    pub backend: String,
    pub why: String,
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.backend, self.why)
    }
}

impl<'a> Attempts<'a> {
    /// The first answer, or why there is none, candidate by candidate. Of several refusals for want of capacity the last one
    /// is the answer, in the backend's own words. Each backend is tried once.
    pub async fn run(&self, candidates: &[&'a Backend], order: &[u32]) -> Result<Served<'a>, Vec<Passed>> {
        let mut passed = Vec::new();
        let mut tried = BTreeSet::new();
        let mut busy = None;
        for backend in order.iter().filter_map(|&i| candidates.get(i as usize).copied()) {
            if !tried.insert(backend.name.as_str()) {
                continue;
            }
            match self.attempt(backend).await {
                Ok(Answer::Served(served)) => return Ok(*served),
                Ok(Answer::Busy(served)) => {
                    passed.push(Passed {
                        backend: backend.name.to_string(),
                        why: format!("it answered {}", served.head.status),
                    });
                    busy = Some(served);
                }
                Err(why) => passed.push(Passed { backend: backend.name.to_string(), why: why.to_string() }),
            }
        }
        match busy {
            Some(served) => Ok(*served),
            None => Err(passed),
        }
    }

    async fn attempt(&self, backend: &'a Backend) -> Result<Answer<'a>, BoxError> {
        let cleared = Cleared::check(backend, self.sensitivity)?;
        let key = match &backend.provider {
            None => None,
            Some(provider) => match self.secrets.get(provider.as_str()) {
                Some(secret) => Some(secret.as_str()),
                None => return Err(format!("the key of provider {provider} is not here").into()),
            },
        };
        let outgoing = Outgoing {
            suffix: format!("{}{}", self.endpoint.suffix(), head::query(self.query)),
            headers: head::for_backend(self.headers, backend.kind, self.wants_events(), key)?,
            body: self.document.bytes_for(backend.model.as_deref()),
        };
        let start = Instant::now();
        let sent = timeout(idle(cleared), self.transport.send(cleared, outgoing)).await;
        let response = sent.map_err(|_| format!("it did not answer within {} ms", idle(cleared).as_millis()))??;
        let (head, body) = response.into_parts();
        match head.status {
            status if status.is_informational() || status.is_redirection() => {
                return Err(format!("it answered {status}, and redirects are not followed").into());
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                return Err(format!("it answered {}: its key may be wrong", head.status).into());
            }
            _ => {}
        }
        let relay = Relay::begin(body, self.terms(backend, &head.headers, idle(cleared))).await?;
        let waited = start.elapsed();
        self.latencies.seen(backend.name.as_str(), u32::try_from(waited.as_millis()).unwrap_or(u32::MAX));
        let busy = head.status == StatusCode::TOO_MANY_REQUESTS || head.status.is_server_error();
        let served = Box::new(Served { backend, head, relay });
        Ok(if busy { Answer::Busy(served) } else { Answer::Served(served) })
    }

    fn terms(&self, backend: &Backend, headers: &HeaderMap, idle: Duration) -> Terms {
        let kind = headers.get(http::header::CONTENT_TYPE);
        Terms {
            dialect: self.endpoint.dialect(),
            events: kind.is_some_and(|v| v.as_bytes().starts_with(b"text/event-stream")),
            idle,
            backend: backend.name.to_string(),
        }
    }

    fn wants_events(&self) -> bool {
        matches!(self.document.get("stream"), Some(super::document::Json::Plain("true")))
    }
}

enum Answer<'a> {
    /// Its answer is the answer.
    Served(Box<Served<'a>>),
    /// It has no capacity now; another one may.
    Busy(Box<Served<'a>>),
}
