//! Whole answers: translated into the caller's API, and with what was replaced put back.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::response::Parts;
use http_body_util::BodyExt as _;
use openshell_inference_format::said;
use openshell_inference_format::translate::{self, Translated};
use tokio::time::timeout;

use super::Attempts;
use super::one::now;
use crate::inference::clearance::Content;
use crate::inference::refusal::full;
use crate::inference::service::{Body, BoxError};

/// Longest answer that is read whole, in bytes.
pub(super) const LONGEST: usize = 32 * 1024 * 1024;

impl Attempts<'_> {
    /// The whole answer to `content` as its caller reads it. Fails, so that another candidate may be tried, if it has no form
    /// there, or can't be read although values are to be put back into it.
    pub(super) async fn whole(
        &self,
        translated: Option<&Translated>,
        content: Content<'_>,
        head: &mut Parts,
        body: Body,
        idle: Duration,
    ) -> Result<Body, BoxError> {
        let mut answer = read(body, idle).await?;
        let success = head.status.is_success();
        if let Some(translated) = translated {
            answer = if !success {
                translated.error(head.status.as_u16(), &answer)
            } else if self.wants_events() {
                return Err("it answered no stream of events".into());
            } else {
                translated.answer(content.document, &answer, now())?
            };
        }
        if let Some(placeholders) = content.placeholders {
            answer = match placeholders.restore_document(&answer, said::wants_json(content.document)) {
                Some(restored) => restored,
                None if success => return Err("its answer is no JSON, so what was replaced can't be put back".into()),
                None => {
                    let message = format!("the backend answered HTTP {}", head.status.as_u16());
                    translate::error(self.endpoint.dialect(), head.status.as_u16(), &message)
                }
            };
        }
        head.headers.remove(http::header::CONTENT_LENGTH);
        head.headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(full(answer))
    }
}

/// Reads an answer to its end. Refuses one that is too long, breaks off or pauses for longer than `idle`.
async fn read(mut body: Body, idle: Duration) -> Result<Bytes, BoxError> {
    let mut all = BytesMut::new();
    loop {
        match timeout(idle, body.frame()).await {
            Err(_) => return Err(format!("it was silent for {} ms", idle.as_millis()).into()),
            Ok(None) => return Ok(all.freeze()),
            Ok(Some(frame)) => {
                let Ok(data) = frame?.into_data() else { continue };
                if all.len() + data.len() > LONGEST {
                    return Err(format!("its answer is longer than {LONGEST} bytes").into());
                }
                all.extend_from_slice(&data);
            }
        }
    }
}
