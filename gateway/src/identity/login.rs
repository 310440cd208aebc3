//! Whose a request is, by what it shows for itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use ipnet::IpNet;
use openshell_api::discovery::{AuthMethod, Oidc};
use openshell_api::user::{Role, Via};
use subtle::ConstantTimeEq as _;

use super::caller::{Caller, Source};
use super::jwt::{JwtError, KeyFault, Trust, Verifier};
use super::limits::{Key, Limiter, Rate};
use super::permit::FIRST_ADMIN;
use super::supervisors;
use super::tokens::{Shown, TokenHash, hash, shown};
use crate::error::{ApiError, refuse};
use crate::store::{KeyState, Store, StoreError, SupervisorKey};

/// How often a token's use is written down.
const USED_EVERY: Duration = Duration::from_secs(60);

/// How a gateway knows its callers.
#[derive(Debug, Clone)]
pub struct IdentityOptions {
    /// The OpenID provider whose tokens are taken.
    pub oidc: Option<Trust>,
    /// Scopes that clients ask it for.
    pub oidc_scopes: Vec<String>,
    /// The Cloudflare Access application that stands in front.
    pub access: Option<Trust>,
    /// Reverse proxies whose `X-Forwarded-For` is believed.
    pub proxies: Vec<IpNet>,
    /// Failed attempts that are answered, per source and per user.
    pub failures: Rate,
    /// Requests that are answered, per user.
    pub requests: Rate,
    /// Refused attempts that are written into the audit trail, per source or user.
    pub told: Rate,
    /// How long a supervisor's key lives.
    pub key_life: Duration,
}

impl Default for IdentityOptions {
    fn default() -> Self {
        Self {
            oidc: None,
            oidc_scopes: Vec::new(),
            access: None,
            proxies: Vec::new(),
            failures: Rate { burst: 10, every: Duration::from_secs(6) },
            requests: Rate { burst: 8000, every: Duration::from_micros(250) },
            told: Rate { burst: 30, every: Duration::from_secs(10) },
            key_life: supervisors::KEY_LIFE,
        }
    }
}

/// Somebody whose credentials hold. What the two kinds may call is disjoint.
#[derive(Debug, Clone)]
pub enum Principal {
    /// A user: everything but the supervisors' link, as far as its role goes.
    User(Arc<Caller>),
    /// A supervisor: the link of its sandbox, and nothing else.
    Supervisor(SupervisorKey),
}

/// Why a request is nobody's.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// It shows nothing.
    #[error("the request carries no valid bearer token")]
    Nothing,
    /// It shows what can't be read, or what the gateway does not know.
    #[error("the request carries no valid bearer token: the gateway does not know the one it carries")]
    Unknown,
    /// A token has expired.
    #[error("the token of {user} expired at {at}")]
    Expired {
        /// Whose.
        user: String,
        /// When.
        at: jiff::Timestamp,
    },
    /// A provider's token is not taken.
    #[error("{0}")]
    Jwt(#[from] JwtError),
    /// This gateway takes no provider's tokens.
    #[error("this gateway takes no tokens of an identity provider")]
    NoProvider,
    /// There were too many attempts.
    #[error("too many attempts: try again in {} s", seconds(*.0))]
    TooMany(Duration),
    /// The database did not say.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        let text = denied.to_string();
        match denied {
            Denied::Nothing | Denied::Unknown => Self::unauthorized(text),
            Denied::Expired { .. } => {
                refuse(401, "token_expired", text).hint("make another one: `openshell token create`")
            }
            Denied::Jwt(JwtError::NoKeys { .. }) => refuse(503, "provider_unavailable", text)
                .hint("try again once the provider answers; the gateway's own tokens work meanwhile"),
            Denied::Jwt(JwtError::NoRole { .. }) => refuse(403, "no_role", text)
                .hint("an administrator says which claims give roles: --oidc-role, --access-role"),
            Denied::Jwt(JwtError::Expired(_)) => {
                refuse(401, "token_expired", text).hint("log in again: `openshell gateway login`")
            }
            Denied::Jwt(_) | Denied::NoProvider => refuse(401, "bad_token", text)
                .hint("log in again: `openshell gateway login`, or use a token of the gateway's own"),
            Denied::TooMany(wait) => {
                let mut error = refuse(429, "too_many_attempts", text);
                error.0.retry_after_s = Some(seconds(wait));
                error
            }
            Denied::Store(error) => error.into(),
        }
    }
}

/// Knows callers by what they show.
pub struct Identities {
    admin: TokenHash,
    oidc: Option<Verifier>,
    access: Option<Verifier>,
    options: IdentityOptions,
    failures: Limiter,
    requests: Limiter,
    told: Limiter,
    used: Mutex<std::collections::HashMap<String, Instant>>,
}

impl Identities {
    /// Whoever shows the token of this hash is the first administrator. Refuses a provider whose keys could be changed on
    /// their way.
    pub fn new(admin: TokenHash, options: IdentityOptions, http: &reqwest::Client) -> Result<Self, KeyFault> {
        let verifier =
            |trust: &Option<Trust>, via| trust.clone().map(|trust| Verifier::new(trust, via, http.clone())).transpose();
        Ok(Self {
            admin,
            oidc: verifier(&options.oidc, Via::Oidc)?,
            access: verifier(&options.access, Via::Access)?,
            failures: Limiter::new(options.failures),
            requests: Limiter::new(options.requests),
            told: Limiter::new(options.told),
            options,
            used: Mutex::default(),
        })
    }

    /// How long a supervisor's key lives.
    pub fn key_life(&self) -> Duration {
        self.options.key_life
    }

    /// Where a request comes from.
    pub fn source(&self, peer: Source, headers: &HeaderMap) -> Source {
        peer.behind(headers, &self.options.proxies)
    }

    /// What clients may show.
    pub fn methods(&self) -> Vec<AuthMethod> {
        let mut methods = vec![AuthMethod::Token];
        if let Some(trust) = &self.options.oidc {
            methods.push(AuthMethod::Oidc(Oidc {
                issuer: trust.issuer.clone(),
                client_id: trust.client_id.clone().unwrap_or_else(|| trust.audience.clone()),
                scopes: self.options.oidc_scopes.clone(),
                audience: Some(trust.audience.clone()),
            }));
        }
        if let Some(trust) = &self.options.access {
            let (issuer, audience) = (trust.issuer.clone(), trust.audience.clone());
            methods.push(AuthMethod::CloudflareAccess { issuer, audience });
        }
        methods
    }

    /// Whose a request is. What it shows is always checked; how often it fails decides only what a failure is answered.
    pub async fn identify(&self, store: &Store, headers: &HeaderMap, source: Source) -> Result<Principal, Denied> {
        let now = Instant::now();
        match self.look(store, headers, source).await {
            Ok(Principal::User(caller)) => match self.requests.take(&Key::User(caller.user.clone()), now) {
                Ok(_) => Ok(Principal::User(caller)),
                Err(wait) => Err(Denied::TooMany(wait)),
            },
            Ok(supervisor) => Ok(supervisor),
            // Not attempts to be somebody.
            Err(denied @ (Denied::Nothing | Denied::Store(_) | Denied::Jwt(JwtError::NoKeys { .. }))) => Err(denied),
            Err(denied) => {
                let user = match &denied {
                    Denied::Expired { user, .. } => Some(user.clone()),
                    Denied::Jwt(error) => error.user().map(str::to_owned),
                    _ => None,
                };
                let address = match source {
                    Source::Address(address) => Some(Key::source(address)),
                    Source::Container => None,
                };
                for key in address.into_iter().chain(user.map(Key::User)) {
                    self.failures.take(&key, now).map_err(Denied::TooMany)?;
                }
                Err(denied)
            }
        }
    }

    /// Whether a refused attempt is to be written down, and how many before it were not.
    pub fn tells(&self, caller: Option<&Caller>, source: Source) -> Option<u64> {
        let key = match (caller, source) {
            (Some(caller), _) => Key::User(caller.user.clone()),
            (None, Source::Address(address)) => Key::source(address),
            (None, Source::Container) => Key::User(String::new()),
        };
        self.told.take(&key, Instant::now()).ok()
    }

    async fn look(&self, store: &Store, headers: &HeaderMap, source: Source) -> Result<Principal, Denied> {
        let user = |user: String, role, via, expires, token| {
            Principal::User(Arc::new(Caller { user, role, via, expires, token, source }))
        };
        match shown(headers) {
            Shown::Nothing => Err(Denied::Nothing),
            Shown::Malformed => Err(Denied::Unknown),
            Shown::Jwt(jwt) => {
                let verifier = self.oidc.as_ref().ok_or(Denied::NoProvider)?;
                let vouched = verifier.verify(jwt, jiff::Timestamp::now()).await?;
                Ok(user(vouched.user, vouched.role, Via::Oidc, Some(vouched.expires), None))
            }
            Shown::Assertion(jwt) => {
                let verifier = self.access.as_ref().ok_or(Denied::NoProvider)?;
                let vouched = verifier.verify(jwt, jiff::Timestamp::now()).await?;
                Ok(user(vouched.user, vouched.role, Via::Access, Some(vouched.expires), None))
            }
            Shown::Token(token) => {
                // Looked up by its hash, so the time it takes tells nothing of any token.
                let hash = hash(token);
                if bool::from(hash.as_slice().ct_eq(self.admin.as_slice())) {
                    return Ok(user(FIRST_ADMIN.to_owned(), Role::Admin, Via::Token, None, None));
                }
                if let Some(key) = store.supervisor_key(&hash).await? {
                    return supervisor(key);
                }
                let known = store.known_token(&hash).await?.ok_or(Denied::Unknown)?;
                let now = jiff::Timestamp::now();
                if let Some(at) = known.expires.filter(|at| *at <= now) {
                    return Err(Denied::Expired { user: known.user, at });
                }
                self.was_used(store, &known.id, now);
                Ok(user(known.user, known.role, Via::Token, known.expires, Some(known.id)))
            }
        }
    }

    /// Writes down that a token was used, now and then, and lets nobody wait for it.
    fn was_used(&self, store: &Store, id: &str, now: jiff::Timestamp) {
        {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            if used.get(id).is_some_and(|at| at.elapsed() < USED_EVERY) {
                return;
            }
            used.retain(|_, at| at.elapsed() < USED_EVERY);
            used.insert(id.to_owned(), Instant::now());
        }
        let (store, id) = (store.clone(), id.to_owned());
        tokio::spawn(async move {
            if let Err(error) = store.token_used(&id, now).await {
                tracing::debug!(%error, "the use of a token could not be written down");
            }
        });
    }
}

/// A used refresh is let through to the link's door, which knows what to do about it.
fn supervisor(key: SupervisorKey) -> Result<Principal, Denied> {
    let expired = key.expires.is_some_and(|at| at <= jiff::Timestamp::now());
    match expired && key.state != KeyState::Used {
        true => {
            Err(Denied::Expired { user: format!("sandbox {}", key.sandbox_id), at: key.expires.unwrap_or_default() })
        }
        false => Ok(Principal::Supervisor(key)),
    }
}
