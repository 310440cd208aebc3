//! What a token says, once its signature held.

use openshell_api::user::{Role, Via};
use serde_json::{Map, Value};

use super::{JwtError, Trust};

/// Clocks may differ by so much, in seconds.
const LEEWAY_S: i64 = 30;
/// Longest name of a user, in bytes.
const MAX_NAME: usize = 256;

/// A user as a provider vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// Its name, with `oidc:` or `access:` before it.
    pub user: String,
    /// What it may do.
    pub role: Role,
    /// When the token expires.
    pub expires: jiff::Timestamp,
}

/// The claims of a verified token.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    /// Holds every claim against what is expected of it (RFC 7519, OpenID Connect Core 3.1.3.7).
    pub fn check(&self, trust: &Trust, via: Via, now: jiff::Timestamp) -> Result<Vouched, JwtError> {
        let issuer = self.text("iss")?;
        if issuer != trust.issuer {
            return Err(JwtError::Issuer { found: issuer.to_owned(), expected: trust.issuer.clone() });
        }
        self.audience(trust)?;
        let expires = self.time("exp")?.ok_or_else(|| JwtError::Claim("exp".to_owned()))?;
        if now.as_second() >= expires.as_second().saturating_add(LEEWAY_S) {
            return Err(JwtError::Expired(expires));
        }
        for claim in ["nbf", "iat"] {
            if let Some(from) = self.time(claim)?
                && from.as_second() > now.as_second().saturating_add(LEEWAY_S)
            {
                return Err(JwtError::NotYet(from));
            }
        }
        let user = match (via, self.service(trust)) {
            (Via::Access, Some(client)) => format!("access-service:{client}"),
            (Via::Access, None) => format!("access:{}", self.user(trust)?),
            (Via::Oidc | Via::Token, _) => format!("oidc:{}", self.user(trust)?),
        };
        let role = self.role(trust).ok_or_else(|| JwtError::NoRole { user: user.clone() })?;
        Ok(Vouched { user, role, expires })
    }

    fn audience(&self, trust: &Trust) -> Result<(), JwtError> {
        let audiences: Vec<&str> = match self.0.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().map(Value::as_str).collect::<Option<_>>().unwrap_or_default(),
            _ => Vec::new(),
        };
        let wrong = |found: String| JwtError::Audience { found, expected: trust.audience.clone() };
        if !audiences.contains(&trust.audience.as_str()) {
            return Err(wrong(if audiences.is_empty() { "nobody".to_owned() } else { audiences.join(", ") }));
        }
        // A token for several parties says which of them asked for it.
        match (&trust.client_id, self.0.get("azp")) {
            (Some(client), Some(party)) if party.as_str() != Some(client) => Err(wrong(format!("the client {party}"))),
            (Some(client), None) if audiences.len() > 1 && *client == trust.audience => {
                Err(JwtError::Claim("azp".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// The client whose service token Access let pass: `common_name`, where nobody is named (`sub` is empty).
    fn service(&self, trust: &Trust) -> Option<&str> {
        let nobody = |claim: &str| self.at(claim).is_none_or(|value| value.as_str() == Some(""));
        let client = self.0.get("common_name").and_then(Value::as_str).filter(is_name)?;
        (nobody("sub") && nobody("email") && nobody(&trust.user_claim)).then_some(client)
    }

    fn user(&self, trust: &Trust) -> Result<&str, JwtError> {
        let claim = trust.user_claim.as_str();
        let name = self.at(claim).and_then(Value::as_str);
        let name = name.filter(is_name).ok_or_else(|| JwtError::Claim(claim.to_owned()))?;
        // Whoever may write any address into a profile would otherwise be anybody. Access asks each time.
        let verified = match self.0.get("email_verified") {
            Some(Value::Bool(verified)) => *verified,
            Some(Value::String(text)) => text == "true",
            _ => matches!(trust.keys, super::KeySource::Certificates(_)),
        };
        match claim == "email" && !verified {
            true => Err(JwtError::Unverified(name.to_owned())),
            false => Ok(name),
        }
    }

    fn role(&self, trust: &Trust) -> Option<Role> {
        let values: Vec<&str> = match trust.role_claim.as_deref().and_then(|claim| self.at(claim)) {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let matching = trust.roles.iter().filter(|(_, value)| values.contains(&value.as_str())).map(|(role, _)| *role);
        matching.max().or(trust.default_role)
    }

    /// The claim of that name, else the one that its dots lead to.
    fn at(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.0.get(path) {
            return Some(value);
        }
        let mut parts = path.split('.');
        let first = self.0.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }

    fn text(&self, claim: &str) -> Result<&str, JwtError> {
        self.0.get(claim).and_then(Value::as_str).ok_or_else(|| JwtError::Claim(claim.to_owned()))
    }

    /// Seconds since the Unix epoch, with or without a fraction.
    fn time(&self, claim: &str) -> Result<Option<jiff::Timestamp>, JwtError> {
        let wrong = || JwtError::Claim(claim.to_owned());
        let Some(value) = self.0.get(claim) else { return Ok(None) };
        let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64)).ok_or_else(wrong)?;
        jiff::Timestamp::from_second(seconds).map(Some).map_err(|_| wrong())
    }
}

fn is_name(name: &&str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control)
}
