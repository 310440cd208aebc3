//! What is read of a request before anybody is asked: its body, and which backends could serve it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use openshell_api::inference::{Backend, Catalogue};
use openshell_inference_format::endpoint::{Endpoint, Unknown};

use super::refusal::{Cause, Refusal};
use super::service::Body;

/// Longest request body, in bytes.
const BODY_CAP: usize = 32 * 1024 * 1024;
/// Longest pause while a request's body arrives.
const BODY_IDLE: Duration = Duration::from_secs(30);

/// Backends that can be asked this, in their own API or by translation. Refuses, naming those that can't, when there is none.
pub fn candidates(catalogue: &Catalogue, endpoint: Endpoint) -> Result<Vec<&Backend>, Refusal> {
    let able: Vec<&Backend> = catalogue.backends.iter().filter(|b| endpoint.carried_to(b)).collect();
    if !able.is_empty() {
        return Ok(able);
    }
    let others: Vec<String> = catalogue.backends.iter().map(|b| b.name.to_string()).collect();
    let others = if others.is_empty() {
        "there are no backends".to_owned()
    } else {
        format!("the API of {} has no such operation", others.join(", "))
    };
    let operation = endpoint.suffix().trim_start_matches('/');
    Err(Refusal::new(Cause::Unavailable, format!("no backend of this sandbox can serve {operation}; {others}"))
        .hint("add one with `openshell inference backend add`, or use the API that they speak"))
}

/// The whole body. Refuses what is too long, or stops arriving.
pub async fn collect(mut body: Body) -> Result<Bytes, Refusal> {
    let too_large = || {
        Refusal::new(Cause::TooLarge, format!("the body is longer than {} MiB", BODY_CAP / (1024 * 1024)))
            .hint("send less context")
    };
    if body.size_hint().lower() > BODY_CAP as u64 {
        return Err(too_large());
    }
    let mut all = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(BODY_IDLE, body.frame())
            .await
            .map_err(|_| Refusal::new(Cause::BodyTimeout, "the body stopped arriving"))?;
        match frame {
            None => return Ok(all.freeze()),
            Some(Err(_)) => return Err(Refusal::new(Cause::BadRequest, "the body broke off")),
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { continue };
                if all.len() + data.len() > BODY_CAP {
                    return Err(too_large());
                }
                all.extend_from_slice(&data);
            }
        }
    }
}

pub fn unknown_endpoint(unknown: Unknown) -> Refusal {
    let known = "served are chat/completions, completions, responses, embeddings, models, messages and messages/count_tokens below /v1";
    match unknown {
        Unknown::Path => Refusal::new(Cause::UnknownEndpoint, "inference.local has no such endpoint").hint(known),
        Unknown::Method(takes) => Refusal::new(Cause::MethodNotAllowed, format!("this endpoint takes {takes} only")),
    }
}
