//! Credentials: attached where they are bound, in the place of what the workload sent, and refused anywhere else.
//!
//! A workload has a placeholder in a secret's place. Where a request carries one that is bound to its host, path and program, it is
//! replaced; at any other place the request is refused, so that it is noticed.

mod sigv4;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri};
use openshell_api::provider::{Attach, CredentialRule, PLACEHOLDER_MARK};

use super::headers::may_edit;
pub(super) use sigv4::Signer;

/// Why a credential was not attached. None of them sends it anywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// No such credential in this generation.
    #[error("the grant names the credential {name:?}, which this sandbox does not have")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// It is bound to other hosts.
    #[error("the credential {name:?} is not bound to {host}")]
    OtherHost {
        /// Its name.
        name: String,
        /// The destination.
        host: String,
    },
    /// It is bound to other paths.
    #[error("the credential {name:?} is not bound to the path {path:?}")]
    OtherPath {
        /// Its name.
        name: String,
        /// The request's path.
        path: String,
    },
    /// It is bound to other programs.
    #[error("the credential {name:?} is not bound to {executable}")]
    OtherProgram {
        /// Its name.
        name: String,
        /// Who asks.
        executable: String,
    },
    /// A placeholder stands where no credential is attached, or is none of this sandbox's.
    #[error("a placeholder stands {place}, where no credential is attached")]
    Misplaced {
        /// Where.
        place: String,
    },
    /// It would travel in the clear.
    #[error("the credential {name:?} is attached over TLS only")]
    Cleartext {
        /// Its name.
        name: String,
    },
    /// Its value has not reached this sandbox.
    #[error("the value of the credential {name:?} is not here")]
    Missing {
        /// Its name.
        name: String,
    },
    /// The request can't be signed as it is.
    #[error("the request can't be signed with the credential {name:?}: {reason}")]
    Unsignable {
        /// Its name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// Its value or header name can't stand in a header.
    #[error("the credential {name:?} can't be written as a header")]
    Unwritable {
        /// Its name.
        name: String,
    },
}

/// Who asks for what: what a credential's bindings are held against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aim<'a> {
    pub host: &'a str,
    /// As it was judged, without a query.
    pub path: &'a str,
    /// As the kernel reported it.
    pub executable: &'a str,
    pub over_tls: bool,
}

/// Credentials of a sandbox: rules and values.
#[derive(Clone, Copy)]
pub(super) struct Purse<'a> {
    pub rules: &'a BTreeMap<String, CredentialRule>,
    pub secrets: &'a BTreeMap<String, String>,
}

impl Purse<'_> {
    /// Attaches the credential that a grant names, in the place of whatever the workload sent there; then whatever placeholders are
    /// left. Answers who must sign the request, if one must. Refuses, and then the request goes nowhere.
    pub fn dress(
        &self,
        granted: Option<&str>,
        headers: &mut HeaderMap,
        target: &mut Uri,
        aim: Aim<'_>,
    ) -> Result<Option<Signer>, CredentialError> {
        let mut signer = None;
        if let Some(name) = granted {
            signer = self.attach(name, headers, target, aim)?;
        }
        if self.rules.values().any(|rule| rule.placeholder.is_some() || matches!(rule.attach, Attach::Sigv4 { .. })) {
            for name in self.shown(headers, target)? {
                if granted != Some(name) {
                    signer = self.attach(name, headers, target, aim)?.or(signer);
                }
            }
            misplaced(headers, target)?;
        }
        Ok(signer)
    }

    /// Credentials whose placeholders stand where those are attached. Refuses one that is none of this sandbox's.
    fn shown(&self, headers: &HeaderMap, target: &Uri) -> Result<Vec<&str>, CredentialError> {
        let mut names = Vec::new();
        for (name, rule) in self.rules {
            let shows = match (&rule.attach, &rule.placeholder) {
                (Attach::Sigv4 { access_key_id }, _) => sigv4::names(headers, access_key_id),
                (_, None) => false,
                (Attach::Query { name }, Some(placeholder)) => {
                    query(target).any(|(key, value)| key == *name && value == placeholder)
                }
                (attach, Some(placeholder)) => header_of(attach).is_some_and(|header| {
                    headers
                        .get_all(header)
                        .iter()
                        .any(|value| plain(value).is_some_and(|text| text.contains(placeholder)))
                }),
            };
            if shows {
                names.push(name.as_str());
            }
        }
        Ok(names)
    }

    fn attach(
        &self,
        name: &str,
        headers: &mut HeaderMap,
        target: &mut Uri,
        aim: Aim<'_>,
    ) -> Result<Option<Signer>, CredentialError> {
        let owned = || name.to_owned();
        let rule = self.rules.get(name).ok_or_else(|| CredentialError::Unknown { name: owned() })?;
        bound(name, rule, aim)?;
        let secret = self.secrets.get(name).ok_or_else(|| CredentialError::Missing { name: owned() })?;
        let unwritable = || CredentialError::Unwritable { name: owned() };
        let text = match &rule.attach {
            Attach::Bearer => format!("Bearer {secret}"),
            Attach::Basic { username } => format!("Basic {}", STANDARD.encode(format!("{username}:{secret}"))),
            Attach::Header { .. } => secret.clone(),
            Attach::Query { name: parameter } => {
                *target = with_parameter(target, parameter, secret).ok_or_else(unwritable)?;
                return Ok(None);
            }
            Attach::Sigv4 { access_key_id } => {
                return Signer::new(name, access_key_id, secret, headers).map(Some);
            }
        };
        let header = header_of(&rule.attach).filter(may_edit).ok_or_else(unwritable)?;
        let mut value = HeaderValue::try_from(text).map_err(|_| unwritable())?;
        value.set_sensitive(true);
        headers.insert(header, value);
        Ok(None)
    }
}

/// Holds a credential's bindings against a request: host, path, program, and that it travels encrypted.
fn bound(name: &str, rule: &CredentialRule, aim: Aim<'_>) -> Result<(), CredentialError> {
    let name = || name.to_owned();
    if !rule.is_bound_to_host(aim.host) {
        return Err(CredentialError::OtherHost { name: name(), host: aim.host.to_owned() });
    }
    if !rule.is_bound_to_path(aim.path) {
        return Err(CredentialError::OtherPath { name: name(), path: aim.path.to_owned() });
    }
    if !rule.binaries.is_empty() && !rule.binaries.iter().any(|binary| binary == aim.executable) {
        return Err(CredentialError::OtherProgram { name: name(), executable: aim.executable.to_owned() });
    }
    if !aim.over_tls {
        return Err(CredentialError::Cleartext { name: name() });
    }
    Ok(())
}

fn header_of(attach: &Attach) -> Option<HeaderName> {
    match attach {
        Attach::Bearer | Attach::Basic { .. } | Attach::Sigv4 { .. } => Some(AUTHORIZATION),
        Attach::Header { name } => name.parse().ok(),
        Attach::Query { .. } => None,
    }
}

/// A header's value as text; what `Authorization: Basic` encodes is decoded.
fn plain(value: &HeaderValue) -> Option<Cow<'_, str>> {
    let text = value.to_str().ok()?;
    let basic = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let decoded = basic.and_then(|(_, pair)| String::from_utf8(STANDARD.decode(pair.trim()).ok()?).ok());
    Some(decoded.map_or(Cow::Borrowed(text), Cow::Owned))
}

/// Parameters of the query, as they are written.
fn query(target: &Uri) -> impl Iterator<Item = (&str, &str)> {
    target.query().unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The target with this parameter, in the place of all that have its name.
fn with_parameter(target: &Uri, name: &str, secret: &str) -> Option<Uri> {
    let others = query(target).filter(|(key, _)| !key.is_empty() && *key != name);
    let mut pairs: Vec<String> = others.map(|(key, value)| format!("{key}={value}")).collect();
    pairs.push(format!("{name}={}", sigv4::encode(secret, false)));
    let text = format!("{}?{}", target.path(), pairs.join("&"));
    Some(Uri::from(PathAndQuery::try_from(text).ok()?))
}

/// Refuses placeholders that are left.
fn misplaced(headers: &HeaderMap, target: &Uri) -> Result<(), CredentialError> {
    let refuse = |place: String| Err(CredentialError::Misplaced { place });
    for (name, value) in headers {
        if !value.is_sensitive() && plain(value).is_some_and(|text| text.contains(PLACEHOLDER_MARK)) {
            return refuse(format!("in the header {name}"));
        }
    }
    match target.path_and_query().is_some_and(|target| target.as_str().contains(PLACEHOLDER_MARK)) {
        true => refuse("in the request's target".to_owned()),
        false => Ok(()),
    }
}
