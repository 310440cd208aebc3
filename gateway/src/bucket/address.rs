//! Where a bucket is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use object_store::path::Path as Object;
use url::Url;

use super::BucketError;
use crate::upstream;

/// Which bucket, and how it is reached.
#[derive(Debug, Clone)]
pub struct BucketOptions {
    /// Which.
    pub place: Place,
    /// URL of the server, if not that of Amazon's region; absent: as the variables `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` say.
    pub endpoint: Option<String>,
    /// Its region; absent: as `AWS_REGION` or `AWS_DEFAULT_REGION` say, else `us-east-1`.
    pub region: Option<String>,
    /// File with keys, in the form of `~/.aws/credentials`; absent: as variables say.
    pub keys: Option<PathBuf>,
}

impl BucketOptions {
    /// The server's URL. Refuses one that others could read along with.
    pub(super) fn endpoint(&self) -> Result<Option<String>, BucketError> {
        let named = |name: &str| std::env::var(name).ok().filter(|url| !url.is_empty());
        let given =
            self.endpoint.clone().or_else(|| named("AWS_ENDPOINT_URL_S3")).or_else(|| named("AWS_ENDPOINT_URL"));
        let Some(url) = given else { return Ok(None) };
        let parsed = Url::parse(&url).ok().filter(|url| {
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none()
        });
        match parsed {
            Some(parsed) if upstream::is_private(&url) => Ok(Some(parsed.as_str().trim_end_matches('/').to_owned())),
            // What was given is not repeated: it may hold a password.
            Some(parsed) => Err(BucketError::InTheClear { host: parsed.host_str().unwrap_or_default().to_owned() }),
            None => Err(BucketError::Endpoint),
        }
    }
}

/// A bucket and a place in it: `s3://bucket/prefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    bucket: String,
    /// Without slashes at its ends; may be empty.
    prefix: String,
}

/// What was given names no bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no bucket: write s3://BUCKET or s3://BUCKET/PREFIX, in letters, digits, '.', '-', '_'")]
pub struct InvalidPlace(String);

impl Place {
    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// An object at this place.
    pub(super) fn object(&self, name: &str) -> Object {
        match self.prefix.is_empty() {
            true => Object::from(name),
            false => Object::from(format!("{}/{name}", self.prefix)),
        }
    }
}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPlace(given.to_owned());
        let rest = given.strip_prefix("s3://").ok_or_else(invalid)?.trim_end_matches('/');
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let legal = |part: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            !part.is_empty() && part.bytes().all(plain) && !matches!(part, "." | "..")
        };
        if !legal(bucket) || !(3..=63).contains(&bucket.len()) || !(prefix.is_empty() || prefix.split('/').all(legal)) {
            return Err(invalid());
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        match self.prefix.is_empty() {
            true => Ok(()),
            false => write!(f, "/{}", self.prefix),
        }
    }
}
