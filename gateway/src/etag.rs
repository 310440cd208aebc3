//! Entity tags (RFC 9110, 8.8.3), and changes that are made only if nothing else has changed meanwhile.

use http::HeaderMap;
use http::header::IF_MATCH;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::error::{ApiError, ApiResult, refuse};

/// Bytes of a hash that tell one state from another.
const LENGTH: usize = 16;

/// The tag of an answer with these bytes.
pub fn of_bytes(body: &[u8]) -> String {
    format!("\"{}\"", hex::encode(&Sha256::digest(body)[..LENGTH]))
}

/// The tag of a thing, as its answer bears it.
pub fn of<T: Serialize + ?Sized>(thing: &T) -> ApiResult<String> {
    Ok(of_bytes(&serde_json::to_vec(thing)?))
}

/// Whether a list of tags, as in `If-Match` and `If-None-Match`, has this one. A weak one has no other's strength where `strong`.
pub fn listed(list: &str, tag: &str, strong: bool) -> bool {
    list.split(',').map(str::trim).any(|listed| match listed.strip_prefix("W/") {
        Some(weak) => !strong && weak == tag,
        None => listed == tag || listed == "*",
    })
}

/// What a caller last saw of a thing that it replaces: `If-Match`.
#[derive(Debug, Clone, Default)]
pub struct Expected(Option<String>);

impl Expected {
    /// As a request's headers say. Absent: anything.
    pub fn of(headers: &HeaderMap) -> ApiResult<Self> {
        let mut tags = Vec::new();
        for value in headers.get_all(IF_MATCH) {
            let readable = value.to_str().map_err(|_| bad("`If-Match` is not text"))?;
            if readable.trim().is_empty() {
                return Err(bad("`If-Match` names no entity tag"));
            }
            tags.push(readable);
        }
        Ok(Self((!tags.is_empty()).then(|| tags.join(","))))
    }

    /// Refuses to go on if what is there now is not what the caller saw. To be asked under the lock that the change is made under.
    pub fn check<T: Serialize + ?Sized>(&self, what: &str, present: &T) -> ApiResult<()> {
        let Some(expected) = &self.0 else { return Ok(()) };
        let tag = of(present)?;
        if listed(expected, &tag, true) {
            return Ok(());
        }
        let mut refused =
            refuse(412, "changed_meanwhile", format!("{what} is not what `If-Match` names: nothing was done"))
                .hint("read it again, and send the change with the entity tag that it has then");
        refused.0.etag = Some(tag);
        Err(refused)
    }
}

fn bad(detail: &str) -> ApiError {
    refuse(400, "bad_if_match", detail).hint("send it as an answer's `ETag` had it, with its quotation marks")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_made_for_the_state_that_was_seen() {
        let present = serde_json::json!({ "a": 1 });
        let tag = of(&present).unwrap();
        let check = |sent: &[&str], expected: Result<(), &str>| {
            let mut headers = HeaderMap::new();
            for value in sent {
                headers.append(IF_MATCH, value.parse().unwrap());
            }
            let found = Expected::of(&headers).and_then(|expected| expected.check("it", &present));
            assert_eq!(found.map_err(|error| error.0.code), expected.map_err(str::to_owned), "{sent:?}");
        };
        check(&[], Ok(()));
        check(&["*"], Ok(()));
        check(&[&tag], Ok(()));
        check(&[&format!("\"other\", {tag}")], Ok(()));
        check(&["\"other\"", &tag], Ok(()));
        check(&["\"other\""], Err("changed_meanwhile"));
        check(&[&format!("W/{tag}")], Err("changed_meanwhile"));
        check(&[tag.trim_matches('"')], Err("changed_meanwhile"));
        check(&[""], Err("bad_if_match"));
    }

    #[test]
    fn a_cached_answer_may_be_weak() {
        assert!(listed("W/\"a\"", "\"a\"", false) && !listed("W/\"a\"", "\"a\"", true));
        assert!(listed("\"b\" , \"a\"", "\"a\"", false) && !listed("\"b\"", "\"a\"", false));
    }
}
