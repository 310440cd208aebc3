//! Where users reach a gateway that is behind a proxy.

use std::str::FromStr;

/// `https://host[:port][/prefix]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    url: String,
    prefix: String,
}

/// Why something is no such URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not https://host[:port][/prefix]")]
pub struct InvalidPublicUrl {
    /// What was given.
    pub given: String,
}

impl PublicUrl {
    /// The URL, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// The path below which the gateway answers, if it is not the root: begins with a slash and does not end with one.
    pub fn prefix(&self) -> Option<&str> {
        (!self.prefix.is_empty()).then_some(self.prefix.as_str())
    }
}

impl FromStr for PublicUrl {
    type Err = InvalidPublicUrl;

    fn from_str(given: &str) -> Result<Self, InvalidPublicUrl> {
        let invalid = || InvalidPublicUrl { given: given.to_owned() };
        let uri: http::Uri = given.parse().map_err(|_| invalid())?;
        let authority = uri.authority().ok_or_else(invalid)?;
        let prefix = uri.path().trim_end_matches('/');
        // Segments of a path in which a router could see a pattern, or a proxy another path, are refused.
        let plain = |segment: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
            !segment.is_empty() && segment.chars().all(plain) && ![".", ".."].contains(&segment)
        };
        let well_formed = uri.scheme() == Some(&http::uri::Scheme::HTTPS)
            && uri.query().is_none()
            && !given.contains('#')
            && !authority.as_str().contains('@')
            && prefix.split('/').skip(1).all(plain);
        if !well_formed {
            return Err(invalid());
        }
        Ok(Self { url: format!("https://{authority}{prefix}"), prefix: prefix.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_plain_path() {
        let check = |given: &str, expected: Option<Option<&str>>| {
            let found = given.parse::<PublicUrl>().ok();
            assert_eq!(found.as_ref().map(PublicUrl::prefix), expected, "{given}");
        };
        check("https://gateway.example", Some(None));
        check("https://gateway.example/", Some(None));
        check("https://gateway.example:8443/team/openshell/", Some(Some("/team/openshell")));
        check("http://gateway.example/a", None);
        check("https://me@gateway.example/a", None);
        check("https://gateway.example/a?b", None);
        check("https://gateway.example/{a}", None);
        check("https://gateway.example/a//b", None);
        check("https://gateway.example/a/../b", None);
        check("/a", None);
    }
}
