//! A small model first: its answer is read to the end and checked, and what does not pass is asked of the next candidate.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use openshell_api::decision::Escalation;
use openshell_api::inference::{Api, Backend, Cascade, Check};
use openshell_inference_format::endpoint::Endpoint;
use openshell_inference_format::said::{self, Said};

use super::answer::LONGEST;
use super::{Answer, Attempts, Passed, Served, Turn, Why};
use crate::inference::ledger::Ended;
use crate::inference::relay::Relay;

/// What became of the small model's answer.
pub(super) enum Outcome<'a> {
    /// It passes, and is the answer.
    Passed(Box<Served<'a>>),
    /// It does not. Its charge is in the escalation; the answer is there if it can be read at all.
    Escalated(Option<Box<Served<'a>>>, Escalation),
    /// There was none.
    Failed(Passed),
}

impl<'a> Attempts<'a> {
    /// The backend that is tried first, if the order names it, others are left to escalate to, and every check can be made.
    pub(super) fn first(&self, order: &[&'a Backend]) -> Option<(&'a Cascade, &'a Backend)> {
        let cascade = self.cascade?;
        let first = order.iter().copied().find(|backend| backend.name == cascade.first).filter(|_| order.len() > 1)?;
        let talks =
            matches!(self.endpoint, Endpoint::Chat | Endpoint::Completions | Endpoint::Messages | Endpoint::Responses);
        let tells = self.endpoint == Endpoint::Chat && first.speaks(Api::Chat);
        let all = cascade.checks.iter().all(|check| !matches!(check, Check::Logprob(_)) || tells);
        (talks && all).then_some((cascade, first))
    }

    /// Asks the small model and checks its answer.
    pub(super) async fn try_first(&self, cascade: &Cascade, first: &'a Backend, turn: &mut Turn) -> Outcome<'a> {
        let asked = self.contents.whole.document;
        let told = matches!(asked.get("logprobs"), Some(wanted) if wanted.is_true());
        turn.logprobs = !told && cascade.checks.iter().any(|check| matches!(check, Check::Logprob(_)));
        let answer = self.one(first, turn).await;
        let added = std::mem::take(&mut turn.logprobs);
        let served = match answer {
            Ok(Answer::Served(served)) => served,
            Ok(Answer::Busy(served, _)) => {
                return failed(first, format!("it answered {}", served.head.status), Why::Lasting);
            }
            Err((why, kind)) => return failed(first, why, kind),
        };
        let Served { backend, mut head, relay, reservation, redacted, escalated } = *served;
        let success = head.status.is_success();
        let events = relay.is_stream();
        let (mut bytes, ended) = hold(relay).await;
        let failed_check = match Said::read(self.endpoint, &bytes, events).filter(|said| said.complete) {
            _ if !success => Some(("status".to_owned(), false)),
            _ if !ended.complete => Some(("broke off".to_owned(), false)),
            None => Some(("unreadable".to_owned(), false)),
            Some(said) => {
                let failed = cascade.checks.iter().find(|check| !said.passes(**check, asked));
                failed.map(|check| (check.to_string(), true))
            }
        };
        if added {
            bytes = said::without_logprobs(&bytes, events).map_or(bytes, Into::into);
            head.headers.remove(http::header::CONTENT_LENGTH);
        }
        let relay = Relay::ready(bytes, events, ended.clone());
        let served = Served { backend, head, relay, reservation, redacted, escalated };
        let Some((check, readable)) = failed_check else { return Outcome::Passed(Box::new(served)) };
        let model = backend.model.as_deref().unwrap_or(self.model).to_owned();
        let Served { reservation, head, relay, .. } = served;
        let charged = reservation.map(|reservation| reservation.settle(&ended));
        let escalation = Escalation { backend: backend.name.to_string(), model, check, charged };
        let kept = Served { backend, head, relay, reservation: None, redacted, escalated: Vec::new() };
        Outcome::Escalated(readable.then(|| Box::new(kept)), escalation)
    }
}

fn failed<'a>(backend: &Backend, why: String, kind: Why) -> Outcome<'a> {
    Outcome::Failed(Passed { backend: backend.name.to_string(), why, kind })
}

/// An answer read to its end, as its caller would get it, and how it ended. One that is too long counts as broken off.
async fn hold(relay: Relay) -> (Bytes, Ended) {
    let told: Arc<Mutex<Option<Ended>>> = Arc::default();
    let tell = Arc::clone(&told);
    let mut body = relay.into_body(Box::new(move |ended| {
        *tell.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
    }));
    let mut all = BytesMut::new();
    let mut whole = true;
    while let Some(frame) = body.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) if all.len() + data.len() <= LONGEST => all.extend_from_slice(&data),
            Ok(Err(_)) => {}
            _ => {
                whole = false;
                break;
            }
        }
    }
    drop(body);
    let ended = told.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    let complete = ended.complete && whole;
    (all.freeze(), Ended { complete, ..ended })
}
