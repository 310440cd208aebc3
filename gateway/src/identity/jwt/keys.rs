//! A provider's keys: fetched, kept, fetched again when they turn.

use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;

/// Keys older than this are asked for again before they are used: for so long a withdrawn one may count still.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// While the provider does not answer, known keys are good for so long.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Least time between two fetches, whatever keys tokens name.
const PAUSE: Duration = Duration::from_secs(10);
/// The same after one that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(30);
/// Longest time for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;
/// Smallest RSA key, in bits of its modulus.
const LEAST_RSA_BITS: usize = 2048;

/// Where a provider's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// Where `<issuer>/.well-known/openid-configuration` says.
    Discovery,
    /// At this URL.
    Certificates(String),
}

/// Why there are no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Keys that come over a connection anybody can change are nobody's.
    #[error("{0:?} is no https URL")]
    Insecure(String),
    /// The provider did not answer.
    #[error("{url}: {reason}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What came of it.
        reason: String,
    },
    /// The provider's configuration is another one's.
    #[error("{url} is the configuration of {found:?}")]
    OtherIssuer {
        /// What was asked.
        url: String,
        /// Whose it is.
        found: String,
    },
    /// It was asked a moment ago.
    #[error("they were asked for in vain a moment ago")]
    TooSoon,
}

/// What a token wants to be verified with.
pub(super) struct Wanted {
    pub kid: Option<String>,
    pub algorithm: Algorithm,
}

struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

struct Keys {
    keys: Vec<Key>,
    fetched: Instant,
}

/// When the provider is asked next.
#[derive(Default)]
struct Turn {
    not_before: Option<Instant>,
}

/// The keys of one provider.
pub(super) struct KeyRing {
    issuer: String,
    source: KeySource,
    http: reqwest::Client,
    known: ArcSwapOption<Keys>,
    /// Held while they are fetched: one asks, the others wait for what it learns.
    turn: tokio::sync::Mutex<Turn>,
}

impl KeyRing {
    /// Knows none yet. Refuses an issuer whose keys could be changed on their way.
    pub fn new(issuer: &str, source: KeySource, http: reqwest::Client) -> Result<Self, KeyFault> {
        secure(issuer)?;
        if let KeySource::Certificates(url) = &source {
            secure(url)?;
        }
        Ok(Self { issuer: issuer.to_owned(), source, http, known: ArcSwapOption::empty(), turn: Default::default() })
    }

    /// Keys that may have signed: of that id and for that algorithm; none where the provider has none. A token that names no key is
    /// verified with the only one that fits.
    pub async fn find(&self, wanted: &Wanted, now: Instant) -> Result<Vec<DecodingKey>, KeyFault> {
        let age = |keys: &Keys| now.saturating_duration_since(keys.fetched);
        let mut fault = None;
        if self.known.load().as_ref().is_none_or(|keys| age(keys) >= FRESH) {
            fault = self.fetch(now, FRESH).await.err();
        }
        let find = || -> Option<Vec<DecodingKey>> {
            let known = self.known.load();
            let keys = known.as_ref().filter(|keys| age(keys) < KEPT)?;
            Some(keys.matching(wanted))
        };
        match find() {
            None => Err(fault.unwrap_or(KeyFault::TooSoon)),
            Some(found) if !found.is_empty() => Ok(found),
            Some(none) => {
                // Keys turn: the token may be signed by the next one.
                let _ = self.fetch(now, PAUSE).await;
                Ok(find().unwrap_or(none))
            }
        }
    }

    /// The same after those there are did not do: fetched again, unless that was done a moment ago.
    pub async fn anew(&self, wanted: &Wanted, now: Instant) -> Vec<DecodingKey> {
        let before = self.known.load_full();
        let fetched = self.fetch(now, PAUSE).await.is_ok();
        let known = self.known.load_full();
        let turned = match (&before, &known) {
            (Some(before), Some(known)) => fetched && !std::sync::Arc::ptr_eq(before, known),
            _ => fetched,
        };
        known.filter(|_| turned).map(|keys| keys.matching(wanted)).unwrap_or_default()
    }

    /// Fetches unless that was done within `unless`, or may not be done yet.
    async fn fetch(&self, now: Instant, unless: Duration) -> Result<(), KeyFault> {
        let mut turn = self.turn.lock().await;
        let recent = |keys: &Keys| now.saturating_duration_since(keys.fetched) < unless;
        if self.known.load().as_ref().is_some_and(|keys| recent(keys)) {
            return Ok(());
        }
        if turn.not_before.is_some_and(|not_before| now < not_before) {
            return Err(KeyFault::TooSoon);
        }
        turn.not_before = Some(now + PAUSE);
        match self.ask().await {
            Ok(keys) => {
                tracing::info!(issuer = self.issuer, keys = keys.len(), "fetched the provider's keys");
                self.known.store(Some(std::sync::Arc::new(Keys { keys, fetched: now })));
                Ok(())
            }
            Err(fault) => {
                tracing::warn!(issuer = self.issuer, %fault, "the provider's keys can't be fetched");
                turn.not_before = Some(now + PAUSE_AFTER_FAILURE);
                Err(fault)
            }
        }
    }

    async fn ask(&self) -> Result<Vec<Key>, KeyFault> {
        #[derive(Deserialize)]
        struct Configuration {
            issuer: String,
            jwks_uri: String,
        }
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let url = match &self.source {
            KeySource::Certificates(url) => url.clone(),
            KeySource::Discovery => {
                let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
                let configuration: Configuration = self.get(&url).await?;
                if configuration.issuer != self.issuer {
                    return Err(KeyFault::OtherIssuer { url, found: configuration.issuer });
                }
                secure(&configuration.jwks_uri)?;
                configuration.jwks_uri
            }
        };
        let set: Set = self.get(&url).await?;
        // One that is not understood is for somebody else.
        Ok(set.keys.into_iter().filter_map(|key| usable(&serde_json::from_value(key).ok()?)).collect())
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, url: &str) -> Result<T, KeyFault> {
        let failed = |reason: String| KeyFault::Unreachable { url: url.to_owned(), reason };
        let sent = self.http.get(url).timeout(PATIENCE).send().await;
        let answer = sent.map_err(|error| failed(crate::upstream::reason(&error.without_url())))?;
        if !answer.status().is_success() {
            return Err(failed(format!("HTTP {}", answer.status().as_u16())));
        }
        let body = crate::upstream::body(answer, MAX_ANSWER).await.map_err(failed)?;
        serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))
    }
}

impl Keys {
    fn matching(&self, wanted: &Wanted) -> Vec<DecodingKey> {
        let fits = |key: &&Key| key.algorithms.contains(&wanted.algorithm);
        let found: Vec<&Key> = match &wanted.kid {
            Some(kid) => self.keys.iter().filter(fits).filter(|key| key.kid.as_ref() == Some(kid)).collect(),
            None => self.keys.iter().filter(fits).collect(),
        };
        match (&wanted.kid, found.len()) {
            (None, 2..) => Vec::new(),
            _ => found.into_iter().map(|key| key.key.clone()).collect(),
        }
    }
}

/// A key that verifies signatures, and for which algorithms: its kind decides, and its own word may narrow that.
fn usable(jwk: &Jwk) -> Option<Key> {
    use Algorithm::{ES256, ES384, EdDSA};
    if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return None;
    }
    let mut algorithms: Vec<Algorithm> = match &jwk.algorithm {
        AlgorithmParameters::RSA(key) => {
            let modulus = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&key.n).ok()?;
            let leading = modulus.iter().take_while(|byte| **byte == 0).count();
            if (modulus.len() - leading) * 8 < LEAST_RSA_BITS {
                return None;
            }
            AlgorithmFamily::Rsa.algorithms().to_vec()
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => vec![ES256],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => vec![ES384],
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => vec![EdDSA],
        // A shared secret in a public document is no key at all.
        _ => return None,
    };
    if let Some(only) = jwk.common.key_algorithm {
        algorithms.retain(|algorithm| KeyAlgorithm::from(*algorithm) == only);
    }
    Some(Key { kid: jwk.common.key_id.clone(), algorithms, key: DecodingKey::from_jwk(jwk).ok()? })
}

fn secure(url: &str) -> Result<(), KeyFault> {
    match crate::upstream::is_private(url) {
        true => Ok(()),
        false => Err(KeyFault::Insecure(url.to_owned())),
    }
}
