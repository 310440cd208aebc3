//! Tokens of identity providers: OpenID Connect, and what Cloudflare Access asserts. Verified here, whoever passed them on.

mod claims;
mod keys;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use openshell_api::user::{Role, Via};
use serde::Deserialize;

use claims::Claims;
pub use claims::Vouched;
pub use keys::{KeyFault, KeySource};
use keys::{KeyRing, Wanted};

/// Whose tokens are taken, and what they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The provider, exactly as in `iss`.
    pub issuer: String,
    /// Whom the token must be for: one of `aud`.
    pub audience: String,
    /// The client that users log in as.
    pub client_id: Option<String>,
    /// Where its keys are.
    pub keys: KeySource,
    /// Claim that names the user.
    pub user_claim: String,
    /// Claim that says the role: a text or a list of them; dots lead into objects.
    pub role_claim: Option<String>,
    /// What that claim must hold for a role; the highest that matches counts.
    pub roles: Vec<(Role, String)>,
    /// Role of users for whom none matches; absent: they are refused.
    pub default_role: Option<Role>,
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// It is no JWT.
    #[error("the token is no JWT: {0}")]
    Malformed(String),
    /// It is signed in a way that is not taken, or not signed.
    #[error("the token's algorithm {0:?} is not taken; RS, PS, ES and EdDSA are")]
    Algorithm(String),
    /// It is for another purpose, or wants what is not known.
    #[error("the token's header says {0}, which is not taken")]
    Header(String),
    /// No key of the provider signed it.
    #[error("the provider {issuer} has no key {kid:?} that signs by {algorithm}")]
    UnknownKey {
        /// The provider.
        issuer: String,
        /// The key that the token names.
        kid: Option<String>,
        /// The algorithm that it names.
        algorithm: String,
    },
    /// The provider's keys are not known.
    #[error("the keys of the provider {issuer} are not known: {fault}")]
    NoKeys {
        /// The provider.
        issuer: String,
        /// Why.
        fault: KeyFault,
    },
    /// The signature does not hold.
    #[error("the token's signature does not hold")]
    Signature,
    /// A claim is missing, or has another form.
    #[error("the token's claim {0} is missing or has another form")]
    Claim(String),
    /// Another provider made it.
    #[error("the token is of the provider {found:?}, and this gateway takes those of {expected:?}")]
    Issuer {
        /// What it says.
        found: String,
        /// What it must say.
        expected: String,
    },
    /// It is for somebody else.
    #[error("the token is for {found}, and not for {expected:?}")]
    Audience {
        /// What it says.
        found: String,
        /// What it must say.
        expected: String,
    },
    /// It has expired.
    #[error("the token expired at {0}")]
    Expired(jiff::Timestamp),
    /// It is not good yet.
    #[error("the token is not good before {0}; do the clocks agree?")]
    NotYet(jiff::Timestamp),
    /// The provider has not verified the address that names the user.
    #[error("the provider has not verified the address {0:?}")]
    Unverified(String),
    /// Nothing gives the user a role.
    #[error("{user} has no role on this gateway")]
    NoRole {
        /// The user.
        user: String,
    },
}

impl JwtError {
    /// The user, where the signature held.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::NoRole { user } => Some(user),
            _ => None,
        }
    }
}

/// The parts of a JWT's header that count (RFC 7515). What names a key by itself (`jwk`, `jku`, `x5c`, `x5u`) is never looked at.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default)]
    crit: serde_json::Value,
}

/// Verifies the tokens of one provider.
pub struct Verifier {
    trust: Trust,
    via: Via,
    keys: Arc<KeyRing>,
}

impl Verifier {
    /// For tokens of this provider. Fetches nothing yet.
    pub fn new(trust: Trust, via: Via, http: reqwest::Client) -> Result<Self, KeyFault> {
        let keys = Arc::new(KeyRing::new(&trust.issuer, trust.keys.clone(), http)?);
        Ok(Self { trust, via, keys })
    }

    /// Whose token this is, and what it may do. `now` is what the token's times are held against; keys age by a clock of their own,
    /// which nobody sets.
    pub async fn verify(&self, token: &str, now: jiff::Timestamp) -> Result<Vouched, JwtError> {
        let header = header(token)?;
        let algorithm = allowed(&header.alg).ok_or_else(|| JwtError::Algorithm(header.alg.clone()))?;
        if !header.crit.is_null() {
            return Err(JwtError::Header("crit".to_owned()));
        }
        let typ = header.typ.as_deref().unwrap_or("JWT").to_ascii_lowercase();
        let typ = typ.strip_prefix("application/").unwrap_or(&typ);
        if !matches!(typ, "jwt" | "at+jwt") {
            return Err(JwtError::Header(format!("typ {typ:?}")));
        }
        let wanted = Wanted { kid: header.kid, algorithm };
        let issuer = || self.trust.issuer.clone();
        let found = self.keys.find(&wanted, Instant::now()).await;
        let keys = found.map_err(|fault| JwtError::NoKeys { issuer: issuer(), fault })?;
        if keys.is_empty() {
            let algorithm = header.alg;
            return Err(JwtError::UnknownKey { issuer: issuer(), kid: wanted.kid, algorithm });
        }
        let claims = match verified(token, &keys, algorithm) {
            Some(claims) => Some(claims),
            // A token that names no key may be signed by the next one: keys turn.
            None if wanted.kid.is_none() => verified(token, &self.keys.anew(&wanted, Instant::now()).await, algorithm),
            None => None,
        };
        let claims = claims.ok_or(JwtError::Signature)?;
        claims.check(&self.trust, self.via, now)
    }
}

/// The claims, where one of these keys signed them. Times and names are held against what is expected elsewhere; the library checks the
/// signature alone.
fn verified(token: &str, keys: &[DecodingKey], algorithm: Algorithm) -> Option<Claims> {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
    keys.iter().find_map(|key| jsonwebtoken::decode(token, key, &validation).ok()).map(|data| data.claims)
}

fn header(token: &str) -> Result<Header, JwtError> {
    let malformed = |reason: &dyn std::fmt::Display| JwtError::Malformed(reason.to_string());
    let (first, _) = token.split_once('.').ok_or_else(|| malformed(&"it has one part"))?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(first).map_err(|error| malformed(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| malformed(&format!("its header: {error}")))
}

/// What is taken: signatures by private keys. A secret that both sides know is none, and neither is no signature.
fn allowed(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}
