//! Tries candidates in the router's order until one answers. Falls back before the first byte, never after.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use openshell_api::inference::{Backend, Budget, Sensitivity};
use openshell_inference_format::document::{Document, Json};
use openshell_inference_format::endpoint::Endpoint;
use openshell_inference_format::translate::{Carry, Target, Translation, Untranslatable};
use tokio::time::timeout;

use super::clearance::Cleared;
use super::head;
use super::health::{Admission, Health};
use super::ledger::{Ledger, Reservation};
use super::refusal::full;
use super::relay::{Relay, Terms};
use super::router::Latencies;
use super::service::{Body, BoxError};
use super::upstream::{Outgoing, Transport, idle};

/// How often the candidates are gone through, as long as one of them failed in a way that passes.
const ROUNDS: u32 = 3;
/// Pause before the second round; it doubles, and up to as much again is added by chance.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest `retry-after` that is waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// What is to be sent, whoever gets it.
pub struct Attempts<'a> {
    pub transport: &'a dyn Transport,
    pub secrets: &'a BTreeMap<String, String>,
    pub latencies: &'a Latencies,
    pub health: &'a Health,
    pub ledger: &'a Ledger,
    pub budgets: &'a [Budget],
    pub document: &'a Document,
    pub endpoint: Endpoint,
    /// The caller's headers and query.
    pub headers: &'a HeaderMap,
    pub query: Option<&'a str>,
    /// What the request counts as.
    pub sensitivity: Sensitivity,
    /// Model for backends that have none of their own, aliases resolved.
    pub model: &'a str,
    /// Tokens that it may use, input and output.
    pub tokens: (u64, u64),
}

/// An answer that has begun.
pub struct Served<'a> {
    pub backend: &'a Backend,
    pub head: Parts,
    pub relay: Relay,
    /// What was set aside for it; `None`: it costs nothing.
    pub reservation: Option<Reservation>,
}

/// Why a candidate did not serve. Holds nothing of the request and no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    pub backend: String,
    pub why: String,
    pub kind: Why,
}

/// What kind of reason it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It was sent nothing, because its API has no form for part of the request.
    Untranslatable,
    /// It was sent nothing, because a budget has no room.
    Budget,
    /// It may serve the same request soon.
    Passing,
    /// It will not.
    Lasting,
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.backend, self.why)
    }
}

impl<'a> Attempts<'a> {
    /// The first answer, or why there is none, candidate by candidate. Of several refusals for want of capacity the last one
    /// is the answer, in the backend's own words. A candidate that failed in a way that passes is tried again, after every other
    /// one and a pause.
    pub async fn run(&self, candidates: &[&'a Backend], order: &[u32]) -> Result<Served<'a>, Vec<Passed>> {
        let mut seen = BTreeSet::new();
        let mut left: Vec<&'a Backend> = order
            .iter()
            .filter_map(|&i| candidates.get(i as usize).copied())
            .filter(|backend| seen.insert(backend.name.as_str()))
            .collect();
        let mut passed: Vec<Passed> = Vec::new();
        let mut busy = None;
        for round in 0..ROUNDS {
            let mut again = Vec::new();
            let mut wait = None;
            for backend in left {
                let failure = match self.one(backend).await {
                    Ok(Answer::Served(served)) => return Ok(*served),
                    Ok(Answer::Busy(served, after)) => {
                        let why = format!("it answered {}", served.head.status);
                        busy = Some(served);
                        wait = wait.max(after);
                        let lasting = after.is_some_and(|after| after > LONGEST_PAUSE);
                        (why, if lasting { Why::Lasting } else { Why::Passing })
                    }
                    Err(failure) => failure,
                };
                if failure.1 == Why::Passing {
                    again.push(backend);
                }
                passed.retain(|p| p.backend != backend.name.as_str());
                passed.push(Passed { backend: backend.name.to_string(), why: failure.0, kind: failure.1 });
            }
            left = again;
            if left.is_empty() || round + 1 == ROUNDS {
                break;
            }
            tokio::time::sleep(pause(round, wait)).await;
        }
        match busy {
            Some(served) => Ok(*served),
            None => Err(passed),
        }
    }

    /// One attempt, if the backend is worth one and there is money for it.
    async fn one(&self, backend: &'a Backend) -> Result<Answer<'a>, (String, Why)> {
        let name = backend.name.as_str();
        if let Admission::Closed(left) = self.health.admit(name, Instant::now()) {
            return Err((format!("it failed lately and is left alone for {} ms", left.as_millis()), Why::Lasting));
        }
        // Whoever gives up in the middle, by hanging up, has not found out whether it is well.
        let mut trial = Trial { health: self.health, backend: name, told: false };
        let free = self.endpoint == Endpoint::CountTokens;
        let reservation = match free {
            true => None,
            false => match self.ledger.reserve(self.budgets, backend, self.tokens, jiff::Timestamp::now()) {
                Ok(reservation) => Some(reservation),
                Err(exhausted) => return Err((exhausted.to_string(), Why::Budget)),
            },
        };
        match self.attempt(backend).await {
            Ok((served, status)) => {
                let after = retry_after(&served.head.headers);
                let busy = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
                if busy {
                    trial.failed(after);
                } else {
                    trial.served();
                }
                if status.is_success() {
                    return Ok(Answer::Served(Box::new(Served { reservation, ..served })));
                }
                // What was refused is not charged for.
                reservation.into_iter().for_each(Reservation::release);
                Ok(if busy { Answer::Busy(Box::new(served), after) } else { Answer::Served(Box::new(served)) })
            }
            Err(why) => {
                reservation.into_iter().for_each(Reservation::release);
                let kind = if why.is::<Refused>() {
                    Why::Untranslatable
                } else if why.is::<Lasting>() {
                    Why::Lasting
                } else {
                    Why::Passing
                };
                if kind == Why::Passing || why.downcast_ref::<Lasting>().is_some_and(|l| l.ill) {
                    trial.failed(None);
                }
                Err((why.to_string(), kind))
            }
        }
    }

    async fn attempt(&self, backend: &'a Backend) -> Result<(Served<'a>, StatusCode), BoxError> {
        let lasting = |why: String| Lasting { why, ill: false };
        let cleared = Cleared::check(backend, self.sensitivity).map_err(|error| lasting(error.to_string()))?;
        let key = match &backend.provider {
            None => None,
            Some(provider) => match self.secrets.get(provider.as_str()) {
                Some(secret) => Some(secret.as_str()),
                None => return Err(lasting(format!("the key of provider {provider} is not here")).into()),
            },
        };
        let carry = Carry::of(self.endpoint, backend.kind);
        let carry = carry.ok_or_else(|| lasting("its API has no such operation".to_owned()))?;
        let outgoing = Outgoing {
            suffix: format!("{}{}", carry.endpoint(self.endpoint).suffix(), head::query(self.query)),
            headers: head::for_backend(self.headers, backend.kind, self.wants_events(), key)
                .map_err(|error| lasting(error.to_string()))?,
            body: self.body(backend, carry)?,
        };
        let start = Instant::now();
        let sent = timeout(idle(cleared), self.transport.send(cleared, outgoing)).await;
        // Waiting as long again would help nobody.
        let silent =
            |_| Lasting { why: format!("it did not answer within {} ms", idle(cleared).as_millis()), ill: true };
        let response = sent.map_err(silent)??;
        let (head, body) = response.into_parts();
        match head.status {
            status if status.is_informational() || status.is_redirection() => {
                return Err(lasting(format!("it answered {status}, and redirects are not followed")).into());
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                return Err(lasting(format!("it answered {}: its key may be wrong", head.status)).into());
            }
            _ => {}
        }
        let mut terms = self.terms(backend, &head.headers, idle(cleared));
        let (mut head, mut body) = (head, body);
        let status = head.status;
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
        Ok((Served { backend, head, relay, reservation: None }, status))
    }

    /// The request as this backend reads it.
    fn body(&self, backend: &Backend, carry: Carry) -> Result<Bytes, Refused> {
        match carry {
            Carry::Unchanged => Ok(self.document.bytes_for(Some(backend.model.as_deref().unwrap_or(self.model)))),
            Carry::Translated(translation) => {
                let model = backend.model.as_deref().unwrap_or(self.model);
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
    /// It has no capacity now, for so long as it says; another one may.
    Busy(Box<Served<'a>>, Option<Duration>),
}

/// A failure that trying again would not mend.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
struct Lasting {
    why: String,
    /// It says that the backend is not well.
    ill: bool,
}

/// Tells what became of a backend; told nothing, that nobody found out.
struct Trial<'a> {
    health: &'a Health,
    backend: &'a str,
    told: bool,
}

impl Trial<'_> {
    fn served(&mut self) {
        self.told = true;
        self.health.served(self.backend);
    }

    fn failed(&mut self, retry_after: Option<Duration>) {
        self.told = true;
        self.health.failed(self.backend, Instant::now(), retry_after);
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.health.unknown(self.backend);
        }
    }
}

/// How long a backend says that it will be busy: `retry-after-ms`, or `retry-after` in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The pause after a round: what the backends asked for, else one that doubles; with chance added, so that callers that failed
/// together do not come back together.
fn pause(round: u32, asked: Option<Duration>) -> Duration {
    let least = asked.map_or(PAUSE * 2u32.pow(round), |asked| asked.min(LONGEST_PAUSE));
    let mut chance = [0u8; 2];
    // Without chance, callers merely come back together.
    let _ = getrandom::fill(&mut chance);
    least + PAUSE.mul_f64(f64::from(u16::from_le_bytes(chance)) / f64::from(u16::MAX)) * 2u32.pow(round)
}
