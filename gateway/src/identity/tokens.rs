//! Bearer tokens: made here, known by their hash alone.

use base64::Engine as _;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::state_dir::{StateDir, StateDirError, random};

/// Hash under which a token is known.
pub type TokenHash = [u8; 32];

/// Hashes a token. It has 256 random bits, so a fast hash keeps it as well as a slow one would.
pub fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

/// A new token: 256 random bits under a telling prefix (so that leak scanners know it).
pub fn generate(prefix: &str) -> Result<Zeroizing<String>, StateDirError> {
    let bytes = Zeroizing::new(random::<32>()?);
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes.as_slice());
    Ok(Zeroizing::new(format!("{prefix}_{text}")))
}

/// Name of the first administrator's token file inside the state directory.
pub const ADMIN_TOKEN_FILE: &str = "admin.token";

/// The first administrator's token; made on first start.
pub fn admin_token(dir: &StateDir) -> Result<Zeroizing<String>, StateDirError> {
    let bytes = dir.read_or_create(ADMIN_TOKEN_FILE, || Ok(generate("osh_admin")?.as_bytes().to_vec()))?;
    let text = String::from_utf8(bytes).map_err(|_| StateDirError::BadKey { path: dir.path(ADMIN_TOKEN_FILE) })?;
    let token = text.trim();
    if token.len() < 32 {
        return Err(StateDirError::BadKey { path: dir.path(ADMIN_TOKEN_FILE) });
    }
    Ok(Zeroizing::new(token.to_owned()))
}

/// Header in which Cloudflare Access says who a user is.
pub const ACCESS_HEADER: &str = "cf-access-jwt-assertion";

/// What a request shows for itself. Nothing else in it says who sends it: a header with a bare name in it never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown<'a> {
    /// Nothing.
    Nothing,
    /// Something that can't be read: several fields, another scheme, no token.
    Malformed,
    /// A bearer token that the gateway may have given out.
    Token(&'a str),
    /// A bearer token that is a JWT.
    Jwt(&'a str),
    /// An assertion of Cloudflare Access; counts only where there is no `Authorization`.
    Assertion(&'a str),
}

/// Reads what a request shows for itself (RFC 6750). `Authorization` alone counts where there is one: whoever sends it means it.
pub fn shown(headers: &HeaderMap) -> Shown<'_> {
    if headers.contains_key(AUTHORIZATION) {
        return match only(headers, AUTHORIZATION.as_str()).and_then(bearer) {
            Some(token) if is_jwt(token) => Shown::Jwt(token),
            Some(token) => Shown::Token(token),
            None => Shown::Malformed,
        };
    }
    match headers.contains_key(ACCESS_HEADER) {
        true => only(headers, ACCESS_HEADER).map_or(Shown::Malformed, Shown::Assertion),
        false => Shown::Nothing,
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// Three parts, the first of them a JSON object in base64. The gateway's own tokens have no dot.
fn is_jwt(token: &str) -> bool {
    token.starts_with("ey") && token.bytes().filter(|byte| *byte == b'.').count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bearer_token_or_one_assertion_is_read_and_nothing_else() {
        let check = |fields: &[(&str, &str)], expected: Shown<'_>| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
            }
            assert_eq!(shown(&headers), expected, "{fields:?}");
        };
        check(&[("authorization", "Bearer good")], Shown::Token("good"));
        check(&[("authorization", "bearer  good")], Shown::Token("good"));
        check(&[("authorization", "Bearer eyJ9.e30.x")], Shown::Jwt("eyJ9.e30.x"));
        check(&[("authorization", "Bearer eyJ9.e30")], Shown::Token("eyJ9.e30"));
        check(&[], Shown::Nothing);
        for bad in ["good", "Basic good", "Bearer ", "Bearer"] {
            check(&[("authorization", bad)], Shown::Malformed);
        }
        check(&[("authorization", "Bearer good"), ("authorization", "Bearer good")], Shown::Malformed);
        check(&[(ACCESS_HEADER, "eyJ9.e30.x")], Shown::Assertion("eyJ9.e30.x"));
        check(&[(ACCESS_HEADER, "eyJ9.e30.x"), (ACCESS_HEADER, "eyJ9.e30.y")], Shown::Malformed);
        check(&[(ACCESS_HEADER, "eyJ9.e30.x"), ("authorization", "Bearer good")], Shown::Token("good"));
        check(&[("x-forwarded-user", "admin"), ("cf-access-authenticated-user-email", "a@b.c")], Shown::Nothing);
    }
}
