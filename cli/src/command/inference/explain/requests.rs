//! Requests as files hold them: a bare body, or a body with the path and headers it was sent with.

use std::collections::BTreeMap;

use bytes::Bytes;
use openshell_api::inference::Sensitivity;
use openshell_inference_format::contract;
use openshell_inference_format::document::{Document, DocumentError};
use openshell_inference_format::endpoint::{self, Endpoint, Unknown};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A request to be judged.
pub struct Request {
    pub document: Document,
    pub endpoint: Endpoint,
    /// What its label claims.
    pub label: Sensitivity,
}

/// What surrounds a body in logs, and in the batch files of OpenAI's API.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    body: &'a RawValue,
    #[serde(alias = "path")]
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// Parses a request. Refuses, without repeating any of it, what the proxy would refuse.
pub fn parse(bytes: &[u8], given: Option<Endpoint>) -> Result<Request, String> {
    let whole = Bytes::copy_from_slice(bytes.trim_ascii());
    match Document::parse(whole.clone()) {
        Ok(document) => {
            let endpoint = given.unwrap_or_else(|| endpoint::of_body(&document));
            Ok(Request { document, endpoint, label: Sensitivity::Public })
        }
        Err(DocumentError::NoModel) => enveloped(&whole, given),
        Err(error) => Err(error.to_string()),
    }
}

fn enveloped(whole: &Bytes, given: Option<Endpoint>) -> Result<Request, String> {
    let envelope: Envelope<'_> = serde_json::from_slice(whole).map_err(|_| DocumentError::NoModel.to_string())?;
    let body = Bytes::copy_from_slice(envelope.body.get().as_bytes());
    let document = Document::parse(body).map_err(|error| error.to_string())?;
    let endpoint = match (given, &envelope.url) {
        (Some(endpoint), _) => endpoint,
        (None, None) => endpoint::of_body(&document),
        (None, Some(url)) => of_url(url)?,
    };
    let mut label = Sensitivity::Public;
    for (_, value) in envelope.headers.iter().filter(|(k, _)| k.eq_ignore_ascii_case("x-openshell-sensitivity")) {
        let level = contract::parse(value.as_bytes()).ok_or("x-openshell-sensitivity is not a sensitivity")?;
        label = label.max(level);
    }
    Ok(Request { document, endpoint, label })
}

fn of_url(url: &str) -> Result<Endpoint, String> {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest.find('/').map_or("", |at| &rest[at..]));
    let path = path.split(['?', '#']).next().unwrap_or_default();
    match Endpoint::parse_post(path) {
        Ok(endpoint) if endpoint != Endpoint::Models => Ok(endpoint),
        Ok(_) | Err(Unknown::Method(_) | Unknown::Path) => {
            Err("its path is no inference endpoint that takes a body".to_owned())
        }
    }
}
