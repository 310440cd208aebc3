//! Who calls: bearer tokens, kept as SHA-256 only.

use std::collections::HashMap;
use std::sync::RwLock;

use base64::Engine as _;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::state_dir::{StateDir, StateDirError, random};

/// Whom a token speaks for. The two sets of calls they open are disjoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Everything but the supervisor link.
    Admin,
    /// The supervisor link of this sandbox (its id), and nothing else.
    Supervisor(String),
}

/// Hash under which a token is known.
pub type TokenHash = [u8; 32];

/// Hashes a token.
pub fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

/// A new token: 256 random bits under a telling prefix (so that leak scanners know it).
pub fn generate(prefix: &str) -> Result<Zeroizing<String>, StateDirError> {
    let bytes = Zeroizing::new(random::<32>()?);
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes.as_slice());
    Ok(Zeroizing::new(format!("{prefix}_{text}")))
}

/// Name of the administrator's token file inside the state directory.
pub const ADMIN_TOKEN_FILE: &str = "admin.token";

/// The administrator's token; made on first start.
pub fn admin_token(dir: &StateDir) -> Result<Zeroizing<String>, StateDirError> {
    let bytes = dir.read_or_create(ADMIN_TOKEN_FILE, || Ok(generate("osh_admin")?.as_bytes().to_vec()))?;
    let text = String::from_utf8(bytes).map_err(|_| StateDirError::BadKey { path: dir.path(ADMIN_TOKEN_FILE) })?;
    let token = text.trim();
    if token.len() < 32 {
        return Err(StateDirError::BadKey { path: dir.path(ADMIN_TOKEN_FILE) });
    }
    Ok(Zeroizing::new(token.to_owned()))
}

/// The tokens that are valid now.
#[derive(Default)]
pub struct Tokens {
    known: RwLock<HashMap<TokenHash, Principal>>,
}

impl Tokens {
    /// Lets a token in.
    pub fn admit(&self, hash: TokenHash, principal: Principal) {
        self.write().insert(hash, principal);
    }

    /// Shuts a token out.
    pub fn revoke(&self, hash: &TokenHash) {
        self.write().remove(hash);
    }

    /// Who sends these headers. The lookup is by the hash of what was sent, so its time tells nothing of a token.
    pub fn principal(&self, headers: &HeaderMap) -> Option<Principal> {
        let sent = hash(bearer(headers)?);
        let known = self.known.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (hash, principal) = known.get_key_value(&sent)?;
        bool::from(hash.as_slice().ct_eq(sent.as_slice())).then(|| principal.clone())
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<TokenHash, Principal>> {
        self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The bearer token of a request (RFC 6750); refuses several `Authorization` fields.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_known_bearer_token_is_let_in() {
        let tokens = Tokens::default();
        tokens.admit(hash("good"), Principal::Admin);
        let check = |values: &[&str], expected: bool| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            assert_eq!(tokens.principal(&headers).is_some(), expected, "{values:?}");
        };
        check(&["Bearer good"], true);
        check(&["bearer good"], true);
        check(&[], false);
        check(&["good"], false);
        check(&["Basic good"], false);
        check(&["Bearer bad"], false);
        check(&["Bearer "], false);
        check(&["Bearer good", "Bearer good"], false);
        tokens.revoke(&hash("good"));
        check(&["Bearer good"], false);
    }
}
