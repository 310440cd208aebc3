//! Publisher signatures: who vouches for a module, by name, version and bytes.
//!
//! A key is an Ed25519 key in a PEM file (PKCS#8 and SubjectPublicKeyInfo, as `openssl genpkey -algorithm ed25519` writes).
//! In text a public key is `ed25519:` and 64 hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::Name;

/// Prefix of what is signed, so that a signature made for one purpose can't serve another.
pub const SIGNING_CONTEXT: &str = "openshell module v1";
/// Longest text form of a signature that is read, in bytes.
pub const MAX_SIGNATURE: usize = 4096;
/// Header of an upload that carries one, as JSON.
pub const SIGNATURE_HEADER: &str = "x-openshell-signature";
const SCHEME: &str = "ed25519:";

/// Why a key or a signature was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It is no public key.
    #[error("this is no Ed25519 public key: {0}")]
    PublicKey(String),
    /// It is no private key.
    #[error("this is no Ed25519 private key: {0}")]
    PrivateKey(String),
    /// The signature does not parse.
    #[error("the signature does not parse: {0}")]
    Malformed(String),
    /// It speaks of another module, name or version.
    #[error("the signature is for {signed}, not for {offered}")]
    Other {
        /// What was signed.
        signed: String,
        /// What came with it.
        offered: String,
    },
    /// The key that it names did not make it.
    #[error("the signature was not made by the key it names ({key}), or was changed since")]
    Bad {
        /// The key: `ed25519:<hex>`.
        key: String,
    },
}

/// A publisher's public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublisherKey(VerifyingKey);

impl PublisherKey {
    /// The public half of a private key.
    pub fn of(key: &SigningKey) -> Self {
        Self(key.verifying_key())
    }

    /// Reads a PEM file's contents, or the text form.
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        if text.trim_start().starts_with("-----BEGIN") {
            let key = VerifyingKey::from_public_key_pem(text.trim())
                .map_err(|error| SignatureError::PublicKey(error.to_string()))?;
            return Self::usable(key);
        }
        let refuse = |reason: &str| SignatureError::PublicKey(reason.to_owned());
        let digits = text.trim().strip_prefix(SCHEME).ok_or_else(|| refuse("it is neither PEM nor `ed25519:<hex>`"))?;
        let bytes: [u8; 32] = hex::decode(digits)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| refuse("it has not 64 hexadecimal digits"))?;
        Self::usable(VerifyingKey::from_bytes(&bytes).map_err(|error| SignatureError::PublicKey(error.to_string()))?)
    }

    /// A key of small order accepts signatures that nobody made.
    fn usable(key: VerifyingKey) -> Result<Self, SignatureError> {
        match key.is_weak() {
            true => Err(SignatureError::PublicKey("it is a weak key".to_owned())),
            false => Ok(Self(key)),
        }
    }
}

impl fmt::Display for PublisherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", hex::encode(self.0.as_bytes()))
    }
}

impl FromStr for PublisherKey {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        Self::parse(text)
    }
}

impl Serialize for PublisherKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublisherKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for PublisherKey {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}

impl utoipa::ToSchema for PublisherKey {}

/// Reads a private key's PEM text.
pub fn signing_key(pem: &str) -> Result<SigningKey, SignatureError> {
    SigningKey::from_pkcs8_pem(pem.trim()).map_err(|error| SignatureError::PrivateKey(error.to_string()))
}

/// A publisher's statement: these bytes are this version of this module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModuleSignature {
    /// Name of the module.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `sha256:<hex>` of the component's bytes.
    pub digest: String,
    /// Who says so.
    pub key: PublisherKey,
    /// Ed25519 signature (RFC 8032) over [`SIGNING_CONTEXT`], name, version and digest, a line each; hexadecimal.
    pub signature: String,
}

impl ModuleSignature {
    /// Signs. What holds a line end is never verified.
    pub fn sign(key: &SigningKey, name: &str, version: &str, digest: &str) -> Self {
        let signature = key.sign(&message(name, version, digest));
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            digest: digest.to_owned(),
            key: PublisherKey::of(key),
            signature: hex::encode(signature.to_bytes()),
        }
    }

    /// Reads its JSON form. Says nothing yet about whether it is right: see [`Self::verify`].
    pub fn parse(text: &[u8]) -> Result<Self, SignatureError> {
        if text.len() > MAX_SIGNATURE {
            return Err(SignatureError::Malformed(format!("it is longer than {MAX_SIGNATURE} bytes")));
        }
        serde_json::from_slice(text).map_err(|error| SignatureError::Malformed(error.to_string()))
    }

    /// Whether the key it names signed exactly this. Whether that key is trusted is another question.
    pub fn verify(&self, name: &str, version: &str, digest: &str) -> Result<(), SignatureError> {
        if (self.name.as_str(), self.version.as_str(), self.digest.as_str()) != (name, version, digest) {
            return Err(SignatureError::Other {
                signed: format!("{}@{} {}", self.name, self.version, self.digest),
                offered: format!("{name}@{version} {digest}"),
            });
        }
        if [name, version, digest].iter().any(|field| field.contains('\n')) {
            return Err(SignatureError::Malformed("a line end stands in it".to_owned()));
        }
        let bad = || SignatureError::Bad { key: self.key.to_string() };
        let bytes = hex::decode(&self.signature).map_err(|error| SignatureError::Malformed(error.to_string()))?;
        let signature = Signature::from_slice(&bytes).map_err(|_| bad())?;
        self.key.0.verify_strict(&message(name, version, digest), &signature).map_err(|_| bad())
    }
}

fn message(name: &str, version: &str, digest: &str) -> Vec<u8> {
    format!("{SIGNING_CONTEXT}\n{name}\n{version}\n{digest}\n").into_bytes()
}

/// A publisher whose modules a gateway takes. As soon as there is one, it takes no others but its own built-in ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Publisher {
    /// What the gateway's administrator calls it.
    pub name: Name,
    /// Its key.
    pub key: PublisherKey,
    /// RFC 3339, UTC.
    #[schema(value_type = String)]
    pub added_at: jiff::Timestamp,
}

/// Body of `POST /v1/publishers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddPublisher {
    /// What to call it.
    pub name: Name,
    /// Its public key: `ed25519:<hex>`.
    pub key: PublisherKey,
}

/// Answer to `POST /v1/publishers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AddedPublisher {
    /// The publisher.
    pub publisher: Publisher,
    /// Bindings in force that would not be accepted now, as `sandbox: name@version`: they stay until they are replaced.
    pub unsigned_in_force: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:aa";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    #[test]
    fn a_signature_holds_for_exactly_what_was_signed() {
        let signed = ModuleSignature::sign(&key(1), "github", "1.0.0", DIGEST);
        assert_eq!(signed.verify("github", "1.0.0", DIGEST), Ok(()));
        for (name, version, digest) in
            [("gitlab", "1.0.0", DIGEST), ("github", "1.0.1", DIGEST), ("github", "1.0.0", "sha256:ab")]
        {
            let refused = signed.verify(name, version, digest);
            assert!(matches!(refused, Err(SignatureError::Other { .. })), "{name} {version} {digest}: {refused:?}");
            let relabelled = ModuleSignature {
                name: name.to_owned(),
                version: version.to_owned(),
                digest: digest.to_owned(),
                ..signed.clone()
            };
            let refused = relabelled.verify(name, version, digest);
            assert!(matches!(refused, Err(SignatureError::Bad { .. })), "{name} {version} {digest}: {refused:?}");
        }
        let claimed = ModuleSignature { key: PublisherKey::of(&key(2)), ..signed.clone() };
        assert!(matches!(claimed.verify("github", "1.0.0", DIGEST), Err(SignatureError::Bad { .. })));
        let short = ModuleSignature { signature: signed.signature[..64].to_owned(), ..signed };
        assert!(matches!(short.verify("github", "1.0.0", DIGEST), Err(SignatureError::Bad { .. })));
    }

    #[test]
    fn lines_can_not_be_shifted_between_fields() {
        let signed = ModuleSignature::sign(&key(1), "a\n1", "2", DIGEST);
        let shifted = ModuleSignature { name: "a".into(), version: "1\n2".into(), ..signed };
        let refused = shifted.verify("a", "1\n2", DIGEST);
        assert!(matches!(refused, Err(SignatureError::Malformed(_))), "{refused:?}");
    }

    #[test]
    fn keys_are_read_as_pem_and_as_text() {
        use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
        use ed25519_dalek::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
        let key = key(3);
        let public = PublisherKey::of(&key);
        let pem = key.verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
        assert_eq!(PublisherKey::parse(&pem), Ok(public));
        assert_eq!(PublisherKey::parse(&public.to_string()), Ok(public));
        let private = key.to_pkcs8_pem(LineEnding::LF).unwrap();
        assert_eq!(signing_key(&private).unwrap().to_bytes(), key.to_bytes());
        for wrong in ["", "ed25519:", "ed25519:00", "rsa:00", &private, &format!("ed25519:{}", "00".repeat(32))] {
            assert!(matches!(PublisherKey::parse(wrong), Err(SignatureError::PublicKey(_))), "{wrong}");
        }
        for wrong in ["", &pem, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"] {
            assert!(matches!(signing_key(wrong), Err(SignatureError::PrivateKey(_))), "{wrong}");
        }
    }

    #[test]
    fn a_signature_that_does_not_parse_says_so() {
        let good = serde_json::to_vec(&ModuleSignature::sign(&key(1), "a", "1", DIGEST)).unwrap();
        assert!(ModuleSignature::parse(&good).is_ok());
        let long = [good.clone(), vec![b' '; MAX_SIGNATURE]].concat();
        for wrong in [&b""[..], b"{}", &good[..good.len() - 2], &long] {
            assert!(matches!(ModuleSignature::parse(wrong), Err(SignatureError::Malformed(_))), "{wrong:?}");
        }
    }
}
