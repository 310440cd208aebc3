//! A message to an export's other side, and what its answer means.

use std::time::Duration;

use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use openshell_api::export::{Export, ExportFormat};
use openshell_api::provider::{Attach, CredentialRule};
use url::Url;

use super::format::Message;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::providers::refresh;
use crate::upstream;

/// Longest part of an answer that a problem repeats, in bytes.
const MOST_SAID: usize = 300;
/// Longest answer that is read, in bytes.
const MOST_READ: usize = 64 * 1024;

/// Why something was not delivered.
pub(super) struct Failure {
    /// In words, without a secret.
    pub problem: String,
    /// The other side refuses what was sent for what it is: the same again would be refused again.
    pub of_content: bool,
    /// When to try again, if the other side said so.
    pub again: Option<Duration>,
}

impl From<String> for Failure {
    fn from(problem: String) -> Self {
        Self { problem, of_content: false, again: None }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        error.to_string().into()
    }
}

/// Sends messages to one place.
pub(super) struct Sender {
    client: reqwest::Client,
    url: String,
    credential: Option<(HeaderName, HeaderValue)>,
}

impl Sender {
    /// To where an export goes, with its provider's credential as it is now.
    pub async fn new(gateway: &Gateway, export: &Export) -> Result<Self, Failure> {
        let client = upstream::client(gateway.upstream_ca.as_deref()).map_err(|error| error.to_string())?;
        let credential = match &export.provider {
            None => None,
            Some(name) => {
                let stored = gateway.store.provider_secret(name.as_str()).await.map_err(ApiError::from)?;
                let stored = stored.ok_or_else(|| format!("there is no provider {name} any more"))?;
                if !is_bound(&stored.rule, &export.url) {
                    return Err(format!("provider {name} is not bound to {:?} any more", export.url).into());
                }
                Some(attached(&stored.rule.attach, &refresh::credential(gateway, &stored)?)?)
            }
        };
        Ok(Self { client, url: url(export), credential })
    }

    /// Sends a message; done once it is acknowledged.
    pub async fn send(&self, message: Message) -> Result<(), Failure> {
        let mut request = self.client.post(&self.url).header(CONTENT_TYPE, message.content_type).body(message.body);
        if let Some((name, value)) = &self.credential {
            request = request.header(name, value);
        }
        let answer = request.send().await.map_err(|error| upstream::reason(&error.without_url()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let of_content = matches!(
            status,
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY
        );
        let wait = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let said = upstream::body(answer, MOST_READ).await.unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let said = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let said = &said[..said.floor_char_boundary(MOST_SAID)];
        let problem = match (status.as_u16(), said) {
            (401 | 403, _) => format!("it answered {}: it refuses the credential, or wants one", status.as_u16()),
            (300..=399, _) => format!("it answered {}: it redirects, and redirects are not followed", status.as_u16()),
            (code, "") => format!("it answered {code}"),
            (code, said) => format!("it answered {code}: {said}"),
        };
        Err(Failure { problem, of_content, again: wait.map(Duration::from_secs) })
    }
}

/// Where its messages go. OTLP's paths follow the URL, as in `OTEL_EXPORTER_OTLP_ENDPOINT`.
fn url(export: &Export) -> String {
    let base = export.url.trim_end_matches('/');
    match export.format {
        ExportFormat::JsonLines | ExportFormat::Ocsf => export.url.clone(),
        ExportFormat::OtlpLogs => format!("{base}/v1/logs"),
        ExportFormat::OtlpTraces => format!("{base}/v1/traces"),
    }
}

/// Whether a credential may be sent there: the same binding as in a sandbox.
pub(super) fn is_bound(rule: &CredentialRule, url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let Some(host) = upstream::bare_host(&url) else { return false };
    rule.is_bound_to_host(host) && rule.is_bound_to_path(url.path())
}

fn attached(attach: &Attach, secret: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = match attach {
        Attach::Bearer => (AUTHORIZATION, format!("Bearer {secret}")),
        Attach::Basic { username } => {
            use base64::Engine as _;
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{secret}"));
            (AUTHORIZATION, format!("Basic {pair}"))
        }
        Attach::Header { name } => {
            let name = name.parse().map_err(|_| format!("{name:?} is no header's name"))?;
            (name, secret.to_owned())
        }
        Attach::Query { .. } | Attach::Sigv4 { .. } => {
            return Err("its credential is not attached to a header".to_owned());
        }
    };
    let mut value = HeaderValue::from_str(&value).map_err(|_| "its credential is no header's value".to_owned())?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_goes_where_it_is_bound() {
        let mut rule = CredentialRule::new(Attach::Bearer);
        rule.hosts = vec!["logs.example.com".to_owned(), "*.eu.example.com".to_owned()];
        for (url, expected) in [
            ("https://logs.example.com/in", true),
            ("https://LOGS.example.com", true),
            ("https://a.eu.example.com/in", true),
            ("https://a.b.eu.example.com/in", false),
            ("https://eu.example.com/in", false),
            ("https://logs.example.com.evil.test/in", false),
            ("https://logs.example.com@evil.test/in", false),
            ("no url", false),
        ] {
            assert_eq!(is_bound(&rule, url), expected, "{url}");
        }
        rule.paths = vec!["/in/".to_owned()];
        for (path, expected) in [("/in", true), ("/in/a", true), ("/inner", false), ("/", false), ("/in/../x", false)] {
            assert_eq!(is_bound(&rule, &format!("https://logs.example.com{path}")), expected, "{path}");
        }
    }

    #[test]
    fn a_credential_is_a_header() {
        let header =
            |attach| attached(&attach, "s3cret").map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        assert_eq!(header(Attach::Bearer).unwrap(), "authorization: Bearer s3cret");
        assert_eq!(header(Attach::Basic { username: "me".into() }).unwrap(), "authorization: Basic bWU6czNjcmV0");
        assert_eq!(header(Attach::Header { name: "DD-API-KEY".into() }).unwrap(), "dd-api-key: s3cret");
        assert!(
            header(Attach::Query { name: "key".into() }).is_err()
                && header(Attach::Header { name: "a b".into() }).is_err()
        );
    }
}
