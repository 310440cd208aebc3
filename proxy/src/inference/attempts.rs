//! Tries candidates in the router's order until one answers. Falls back before the first byte, never after.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use openshell_api::inference::{Backend, Sensitivity};
use openshell_inference_format::document::{Document, Json};
use openshell_inference_format::endpoint::Endpoint;
use openshell_inference_format::translate::{Carry, Target, Translation, Untranslatable};
use tokio::time::timeout;

use super::clearance::Cleared;
use super::head;
use super::refusal::full;
use super::relay::{Relay, Terms};
use super::router::Latencies;
use super::service::{Body, BoxError};
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
    /// It was sent nothing, because its API has no form for part of the request.
    pub untranslatable: bool,
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
                        untranslatable: false,
                    });
                    busy = Some(served);
                }
                Err(why) => passed.push(Passed {
                    backend: backend.name.to_string(),
                    why: why.to_string(),
                    untranslatable: why.is::<Refused>(),
                }),
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
        let carry = Carry::of(self.endpoint, backend.kind).ok_or("its API has no such operation")?;
        let outgoing = Outgoing {
            suffix: format!("{}{}", carry.endpoint(self.endpoint).suffix(), head::query(self.query)),
            headers: head::for_backend(self.headers, backend.kind, self.wants_events(), key)?,
            body: self.body(backend, carry)?,
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
        let mut terms = self.terms(backend, &head.headers, idle(cleared));
        let (mut head, mut body) = (head, body);
        if let Carry::Translated(translation) = carry {
            if terms.events {
                terms.translator = Some(translation.stream(self.document, now()));
            } else {
                body = self.translated(translation, &mut head, body, idle(cleared)).await?;
            }
        }
        let relay = Relay::begin(body, terms).await?;
        let waited = start.elapsed();
        self.latencies.seen(backend.name.as_str(), u32::try_from(waited.as_millis()).unwrap_or(u32::MAX));
        let busy = head.status == StatusCode::TOO_MANY_REQUESTS || head.status.is_server_error();
        let served = Box::new(Served { backend, head, relay });
        Ok(if busy { Answer::Busy(served) } else { Answer::Served(served) })
    }

    /// The request as this backend reads it.
    fn body(&self, backend: &Backend, carry: Carry) -> Result<Bytes, Refused> {
        match carry {
            Carry::Unchanged => Ok(self.document.bytes_for(backend.model.as_deref())),
            Carry::Translated(translation) => {
                let model = backend.model.as_deref().unwrap_or_else(|| self.document.model());
                translation.request(self.document, model, Target::at(&backend.base_url)).map_err(Refused)
            }
        }
    }

    /// A whole answer in the caller's API. Fails, so that another candidate may be tried, if it has no form there.
    async fn translated(
        &self,
        translation: Translation,
        head: &mut Parts,
        body: Body,
        idle: Duration,
    ) -> Result<Body, BoxError> {
        let answer = whole(body, idle).await?;
        let answer = if !head.status.is_success() {
            translation.error(head.status.as_u16(), &answer)
        } else if self.wants_events() {
            return Err("it answered no stream of events".into());
        } else {
            translation.answer(&answer, now())?
        };
        head.headers.remove(http::header::CONTENT_LENGTH);
        head.headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(full(answer))
    }

    fn terms(&self, backend: &Backend, headers: &HeaderMap, idle: Duration) -> Terms {
        let kind = headers.get(http::header::CONTENT_TYPE);
        Terms {
            dialect: self.endpoint.dialect(),
            events: kind.is_some_and(|v| v.as_bytes().starts_with(b"text/event-stream")),
            idle,
            backend: backend.name.to_string(),
            translator: None,
        }
    }

    fn wants_events(&self) -> bool {
        matches!(self.document.get("stream"), Some(Json::Plain("true")))
    }
}

/// Part of the request has no form in the backend's API.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Refused(Untranslatable);

/// Longest answer that is translated whole, in bytes.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;

/// Reads an answer to its end. Refuses one that is too long, breaks off or pauses for longer than `idle`.
async fn whole(mut body: Body, idle: Duration) -> Result<Bytes, BoxError> {
    let mut all = BytesMut::new();
    loop {
        match timeout(idle, body.frame()).await {
            Err(_) => return Err(format!("it was silent for {} ms", idle.as_millis()).into()),
            Ok(None) => return Ok(all.freeze()),
            Ok(Some(frame)) => {
                let Ok(data) = frame?.into_data() else { continue };
                if all.len() + data.len() > LONGEST_ANSWER {
                    return Err(format!("its answer is longer than {LONGEST_ANSWER} bytes").into());
                }
                all.extend_from_slice(&data);
            }
        }
    }
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}

enum Answer<'a> {
    /// Its answer is the answer.
    Served(Box<Served<'a>>),
    /// It has no capacity now; another one may.
    Busy(Box<Served<'a>>),
}
