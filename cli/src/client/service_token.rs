//! Service tokens of Cloudflare Access: two headers that let a program pass where people log in.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

const ID: &str = "cf-access-client-id";
const SECRET: &str = "cf-access-client-secret";
/// Longest part, in bytes.
const MOST: usize = 1024;

/// A service token. Shows itself without its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceToken {
    id: HeaderValue,
    secret: HeaderValue,
}

/// What was given is none. What it was is not repeated: it may hold the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServiceToken {
    /// One of its headers is not there, or is there twice.
    #[error("it does not hold the header {0} once")]
    Missing(&'static str),
    /// Something else is in it.
    #[error("line {0} is none of the two headers of a service token")]
    Line(usize),
    /// No header could have that value.
    #[error("what follows {0} can't be sent")]
    Value(&'static str),
}

impl ServiceToken {
    /// Reads the two headers as Cloudflare shows them, a line each: `CF-Access-Client-Id: …` and `CF-Access-Client-Secret: …`.
    pub fn parse(text: &str) -> Result<Self, InvalidServiceToken> {
        let (mut id, mut secret) = (None, None);
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = InvalidServiceToken::Line(number + 1);
            let (name, value) = line.split_once(':').ok_or(wrong)?;
            let (place, name) = match name.trim().to_ascii_lowercase().as_str() {
                ID => (&mut id, ID),
                SECRET => (&mut secret, SECRET),
                _ => return Err(wrong),
            };
            if place.is_some() {
                return Err(InvalidServiceToken::Missing(name));
            }
            let value = value.trim();
            let fine = !value.is_empty() && value.len() <= MOST && value.bytes().all(|byte| byte.is_ascii_graphic());
            let parsed = HeaderValue::from_str(value).ok().filter(|_| fine);
            *place = Some(parsed.ok_or(InvalidServiceToken::Value(name))?);
        }
        let mut secret = secret.ok_or(InvalidServiceToken::Missing(SECRET))?;
        secret.set_sensitive(true);
        Ok(Self { id: id.ok_or(InvalidServiceToken::Missing(ID))?, secret })
    }

    /// As [`Self::parse`] reads it.
    pub fn text(&self) -> String {
        let shown = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        format!("{ID}: {}\n{SECRET}: {}\n", shown(&self.id), shown(&self.secret))
    }

    /// What every request bears.
    pub fn headers(&self) -> HeaderMap {
        let name = HeaderName::from_static;
        HeaderMap::from_iter([(name(ID), self.id.clone()), (name(SECRET), self.secret.clone())])
    }
}

impl std::fmt::Debug for ServiceToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceToken").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_token_is_two_headers() {
        let check = |text: &str, expected: &str| {
            let found = match ServiceToken::parse(text) {
                Ok(token) => {
                    assert_eq!(ServiceToken::parse(&token.text()), Ok(token.clone()));
                    format!("{token:?}")
                }
                Err(error) => error.to_string(),
            };
            assert!(found.contains(expected) && !found.contains("hidden"), "{text:?}: {found}");
        };
        check("CF-Access-Client-Id: a.access\nCF-Access-Client-Secret: hidden\n", "a.access");
        check("\ncf-access-client-secret:hidden\r\ncf-access-client-id:a.access", "a.access");
        check("CF-Access-Client-Id: a.access", "the header cf-access-client-secret once");
        check("CF-Access-Client-Secret: hidden", "the header cf-access-client-id once");
        check("CF-Access-Client-Id: a\nCF-Access-Client-Id: b", "the header cf-access-client-id once");
        check("CF-Access-Client-Id: a\nhidden", "line 2 is none");
        check("Authorization: hidden", "line 1 is none");
        check(
            "CF-Access-Client-Id: a\nCF-Access-Client-Secret: hidden hidden",
            "cf-access-client-secret can't be sent",
        );
    }
}
