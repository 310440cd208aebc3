//! One attempt: clearance, room in the budgets, the request in the backend's form, and the head of its answer.

use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use openshell_api::inference::Backend;
use openshell_inference_format::document::{Document, Json};
use openshell_inference_format::endpoint::Endpoint;
use openshell_inference_format::redact::Restoring;
use openshell_inference_format::said;
use openshell_inference_format::translate::{Carry, Target, Translated};
use tokio::time::timeout;

use super::{Answer, Attempts, Lasting, Refused, Served, Turn, Why, retry_after};
use crate::inference::clearance::Cleared;
use crate::inference::head;
use crate::inference::health::{Admission, Health};
use crate::inference::ledger::{Claim, Exhausted, Reservation};
use crate::inference::probe::Probes;
use crate::inference::relay::{Relay, Terms};
use crate::inference::service::BoxError;
use crate::inference::upstream::{Outgoing, idle};

/// How often more of shared budgets is asked for.
const SHARES: u32 = 16;

impl<'a> Attempts<'a> {
    /// One attempt, if the backend is worth one and there is money for it.
    pub(super) async fn one(&self, backend: &'a Backend, turn: &mut Turn) -> Result<Answer<'a>, (String, Why)> {
        let name = backend.name.as_str();
        if let Admission::Closed(left) = self.health.admit(name, Instant::now()) {
            return Err((format!("it failed lately and is left alone for {} ms", left.as_millis()), Why::Lasting));
        }
        // Whoever gives up in the middle, by hanging up, has not found out whether it is well.
        let mut trial = Trial { health: self.health, probes: self.probes, backend: name, told: false };
        let cleared = match Cleared::check(backend, self.contents) {
            Ok(cleared) => cleared,
            Err(error) => return Err((error.to_string(), Why::Lasting)),
        };
        let id = if turn.number == 0 { self.id.to_owned() } else { format!("{}.{}", self.id, turn.number) };
        turn.number += 1;
        let free = self.endpoint == Endpoint::CountTokens;
        let reservation = match free {
            true => None,
            false => {
                let model = backend.model.as_deref().unwrap_or(self.model);
                let sensitivity = cleared.content().sensitivity;
                let claim = Claim { id: &id, model, sensitivity, tokens: self.tokens };
                match self.set_aside(backend, claim).await {
                    Ok(reservation) => Some(reservation),
                    Err(exhausted) => return Err((exhausted.to_string(), Why::Budget)),
                }
            }
        };
        match self.attempt(cleared, turn.logprobs).await {
            Ok((served, status)) => {
                let after = retry_after(&served.head.headers);
                let busy = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
                if busy {
                    trial.failed(after);
                } else {
                    trial.served();
                }
                // What a backend refuses it does not charge for.
                let reservation = reservation.and_then(|reservation| match status.is_success() {
                    true => Some(reservation),
                    false => {
                        reservation.release();
                        None
                    }
                });
                let served = Box::new(Served { reservation, ..served });
                Ok(if busy { Answer::Busy(served, after) } else { Answer::Served(served) })
            }
            Err(why) => {
                if let Some(reservation) = reservation {
                    reservation.release();
                }
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

    /// Room in every budget. Of those that are shared, more is asked for until the request fits.
    async fn set_aside(&self, backend: &Backend, claim: Claim<'_>) -> Result<Reservation, Exhausted> {
        // Others may take what was just dealt: not for ever.
        for _ in 0..SHARES {
            match self.ledger.reserve(self.limits, backend, claim, jiff::Timestamp::now()) {
                Err(Exhausted::Share(want)) => {
                    self.purse.ask(want).await.map_err(Exhausted::Shared)?;
                }
                settled => return settled,
            }
        }
        Err(Exhausted::Shared("other requests take all there is of its user's budget".to_owned()))
    }

    async fn attempt(&self, cleared: Cleared<'a>, logprobs: bool) -> Result<(Served<'a>, StatusCode), BoxError> {
        let lasting = |why: String| Lasting { why, ill: false };
        let (backend, content) = (cleared.backend(), cleared.content());
        let key = match &backend.provider {
            None => None,
            Some(provider) => match self.secrets.get(provider.as_str()) {
                Some(secret) => Some(secret.as_str()),
                None => return Err(lasting(format!("the key of provider {provider} is not here")).into()),
            },
        };
        let carry = Carry::of(self.endpoint, backend);
        let carry = carry.ok_or_else(|| lasting("its API has no such operation".to_owned()))?;
        let with_logprobs = match logprobs {
            true => Some(content.document.with("logprobs", true.into())?),
            false => None,
        };
        let document: &Document = with_logprobs.as_ref().unwrap_or(content.document);
        let model = backend.model.as_deref().unwrap_or(self.model);
        let translated = match carry {
            Carry::Unchanged => None,
            Carry::Translated(steps) => {
                Some(Translated::new(steps, document, model, Target::at(&backend.base_url)).map_err(Refused)?)
            }
        };
        let operation = carry.endpoint(self.endpoint);
        let outgoing = Outgoing {
            suffix: format!("{}{}", operation.suffix(), head::query(self.query)),
            headers: head::for_backend(self.headers, backend.kind, operation, self.wants_events(), key)
                .map_err(|error| lasting(error.to_string()))?,
            body: translated.as_ref().map_or_else(|| document.bytes_for(Some(model)), Translated::body),
        };
        (self.shown)(content.sensitivity);
        let start = Instant::now();
        let sent = timeout(idle(cleared), self.transport.send(cleared, outgoing)).await;
        // Waiting as long again would help nobody.
        let silent =
            |_| Lasting { why: format!("it did not answer within {} ms", idle(cleared).as_millis()), ill: true };
        let response = sent.map_err(silent)??;
        let (mut head, mut body) = response.into_parts();
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
        let status = head.status;
        if terms.events {
            terms.translator = translated.map(|translated| translated.stream(content.document, now()));
            let json = said::wants_json(content.document);
            terms.restoring = content.placeholders.map(|p| Restoring::new(p.clone(), self.endpoint, json));
        } else if translated.is_some() || content.placeholders.is_some() {
            body = self.whole(translated.as_ref(), content, &mut head, body, idle(cleared)).await?;
        }
        let relay = Relay::begin(body, terms).await?;
        let waited = start.elapsed();
        self.latencies.seen(backend.name.as_str(), u32::try_from(waited.as_millis()).unwrap_or(u32::MAX));
        let redacted = content.placeholders.map_or(0, |p| u32::try_from(p.len()).unwrap_or(u32::MAX));
        let served = Served { backend, head, relay, reservation: None, redacted, escalated: Vec::new() };
        Ok((served, status))
    }

    fn terms(&self, backend: &Backend, headers: &HeaderMap, idle: Duration) -> Terms {
        let kind = headers.get(http::header::CONTENT_TYPE);
        Terms {
            endpoint: self.endpoint,
            events: kind.is_some_and(|v| v.as_bytes().starts_with(b"text/event-stream")),
            idle,
            backend: backend.name.to_string(),
            translator: None,
            restoring: None,
        }
    }

    pub(super) fn wants_events(&self) -> bool {
        matches!(self.contents.whole.document.get("stream"), Some(Json::Plain("true")))
    }
}

/// Seconds since the Unix epoch.
pub(super) fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}

/// Tells what became of a backend; told nothing, that nobody found out.
struct Trial<'a> {
    health: &'a Health,
    probes: &'a Probes,
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
        if let Some(pause) = self.health.failed(self.backend, Instant::now(), retry_after) {
            self.probes.watch(self.backend, pause);
        }
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.health.unknown(self.backend);
        }
    }
}
