//! Names that users choose: sandboxes, policies, providers, backends.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A name: 1–63 characters of `a-z`, `0-9` and `-`, starting and ending with a letter or digit (an RFC 1123 label),
/// so that it is safe as a file name, a host label and a shell word.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
pub struct Name(String);

/// Why a string is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not a valid name: use 1–63 characters of a-z, 0-9 and '-', starting and ending with a letter or digit"
)]
pub struct InvalidName {
    /// The string that was refused.
    pub given: String,
}

impl Name {
    /// Parses a name; refuses anything that is not an RFC 1123 label.
    pub fn parse(given: &str) -> Result<Self, InvalidName> {
        let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = given.as_bytes();
        let well_formed = (1..=63).contains(&bytes.len())
            && bytes.iter().all(|&b| alnum(b) || b == b'-')
            && alnum(bytes[0])
            && alnum(bytes[bytes.len() - 1]);
        if well_formed { Ok(Self(given.to_owned())) } else { Err(InvalidName { given: given.to_owned() }) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;
    fn try_from(given: String) -> Result<Self, InvalidName> {
        Self::parse(&given)
    }
}

impl std::str::FromStr for Name {
    type Err = InvalidName;
    fn from_str(given: &str) -> Result<Self, InvalidName> {
        Self::parse(given)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}
