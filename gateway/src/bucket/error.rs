//! What goes wrong with a bucket, and whose fault it is.

use object_store::client::HttpError;
use object_store::path::Path as Object;

/// Longest reason that a server gives, in bytes of text.
const MAX_REASON: usize = 300;

/// Why a bucket was of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BucketError {
    /// It gives no answer, or says that it has none at the moment.
    #[error("the bucket {place} does not answer: {reason}")]
    Unreachable {
        /// Which.
        place: String,
        /// Why.
        reason: String,
    },
    /// It answers that it won't: a wrong key, a wrong region, no such bucket, no right to it.
    #[error("the bucket {place} refuses the gateway: {reason}")]
    Refused {
        /// Which.
        place: String,
        /// In its words.
        reason: String,
    },
    /// An object that was put there is gone.
    #[error("the object {object} is not in the bucket {place} any more")]
    Missing {
        /// Which bucket.
        place: String,
        /// Which object.
        object: String,
    },
    /// Something else is in an object's place.
    #[error("the object {object} of the bucket {place} was changed: its digest is {found}, and not {expected}")]
    Damaged {
        /// Which bucket.
        place: String,
        /// Which object.
        object: String,
        /// What it should have.
        expected: String,
        /// What it has.
        found: String,
    },
    /// So is something of another length. It was not read.
    #[error("the object {object} of the bucket {place} was changed: it has {found} bytes, and not {expected}")]
    Length {
        /// Which bucket.
        place: String,
        /// Which object.
        object: String,
        /// How many it should have.
        expected: u64,
        /// How many it has.
        found: u64,
    },
    /// No keys were given.
    #[error("no keys were given for the bucket {place}")]
    NoKeys {
        /// Which.
        place: String,
    },
    /// The file with keys is of no use.
    #[error("the keys in {file} can't be used: {reason}")]
    Keys {
        /// Which.
        file: String,
        /// Why. No key is in it.
        reason: String,
    },
    /// The server's URL is none.
    #[error("the URL of the bucket's server can't be used")]
    Endpoint,
    /// What goes to the server could be read along.
    #[error("the bucket's server {host} would be spoken to in the clear")]
    InTheClear {
        /// Which.
        host: String,
    },
    /// What was given for it can't be used.
    #[error("the bucket {place} can't be used: {reason}")]
    Unusable {
        /// Which.
        place: String,
        /// Why.
        reason: String,
    },
}

impl BucketError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "ask again in a moment; sandboxes enforce what they have meanwhile",
            Self::Refused { .. } => {
                "check the bucket's name, its region, and that the gateway's key may read, write and remove there (s3:GetObject, s3:PutObject, s3:DeleteObject)"
            }
            Self::Missing { .. } | Self::Damaged { .. } | Self::Length { .. } => {
                "push the same file once more with --replace-version, which stores it anew, or restore the object from a copy of the bucket"
            }
            Self::NoKeys { .. } => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file with them: --modules-keys FILE"
            }
            Self::Keys { .. } => {
                "write it as ~/.aws/credentials: [default], aws_access_key_id = …, aws_secret_access_key = …; for its owner alone (mode 0600)"
            }
            Self::Endpoint => "write https://HOST:PORT; keys belong in variables or a file",
            Self::InTheClear { .. } => "use https; in the clear only a server on this machine is spoken to",
            Self::Unusable { .. } => "check the options for the bucket and the variables that begin with AWS_",
        }
    }
}

/// What was asked of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// To take an object.
    Writing,
    /// To give one.
    Reading,
    /// To forget one.
    Removing,
}

/// What a failure means. A server that says "not found" to a read or a removal has no such object; to a write, no such bucket.
pub(super) fn failed(place: String, object: &Object, doing: Doing, error: &object_store::Error) -> BucketError {
    use object_store::Error as E;
    let (text, unanswered) = innermost(error);
    let reason = said(&text);
    match error {
        _ if unanswered => BucketError::Unreachable { place, reason },
        E::NotFound { .. } if doing != Doing::Writing && !text.contains("NoSuchBucket") => {
            BucketError::Missing { place, object: object.to_string() }
        }
        _ if status(&text).is_some_and(|status| status >= 500 || status == 429) => {
            BucketError::Unreachable { place, reason }
        }
        _ => BucketError::Refused { place, reason },
    }
}

/// The innermost cause, and whether it is that no answer came.
fn innermost(error: &object_store::Error) -> (String, bool) {
    let mut inner: &(dyn std::error::Error + 'static) = error;
    let mut unanswered = false;
    loop {
        unanswered |= inner.is::<HttpError>();
        match inner.source() {
            Some(source) => inner = source,
            None => return (inner.to_string(), unanswered),
        }
    }
}

/// An answer's status.
fn status(text: &str) -> Option<u16> {
    text.split_once("status code: ")?.1.get(..3)?.parse().ok()
}

/// In the server's own words, if it has any: `<Code>` and `<Message>` of its answer. Control characters are left out.
fn said(text: &str) -> String {
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.trim())
    };
    let found = match (element("Code"), element("Message")) {
        (Some(code), Some(message)) if !message.is_empty() => format!("{message} ({code})"),
        (Some(code), _) => code.to_owned(),
        // A page of a proxy's says nothing more.
        _ => text.split('<').next().unwrap_or_default().trim().trim_end_matches(':').to_owned(),
    };
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut length = 0;
    let short = found.chars().map(plain).take_while(|c| {
        length += c.len_utf8();
        length <= MAX_REASON
    });
    short.collect()
}
