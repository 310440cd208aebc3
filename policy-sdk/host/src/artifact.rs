//! Signed artifacts: what a gateway bakes and a sandbox loads.
//!
//! ```text
//! magic   8 bytes  "oshellP" and the format's version
//! length  u32 LE   of the manifest
//! manifest         JSON
//! length  u64 LE   of the code
//! code             precompiled component
//! signature        64 bytes: Ed25519 over a context string and the SHA-256 of everything before it
//! ```
//!
//! [`Artifact::open`] checks the digest, then the signature, and only then reads the rest: nothing that was not signed
//! is ever parsed.

use std::collections::BTreeSet;

use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::types::{Connection, HttpRequest, Verdict};

const MAGIC: [u8; 8] = *b"oshellP\x01";
const CONTEXT: &[u8] = b"openshell policy artifact v1\0";
const SIGNATURE: usize = 64;
/// Longest artifact that is read, in bytes.
pub const MAX_ARTIFACT: usize = 512 << 20;

/// The one contract this engine runs.
pub const CONTRACT: &str = "openshell:policy@0.1.0";

/// A question the contract knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// Before the workload starts. Nothing asks it yet.
    Launch,
    /// Each outbound connection.
    Connect,
    /// Each HTTP request.
    Request,
    /// Each response head.
    Response,
    /// Each inference request.
    Route,
}

impl Hook {
    /// Every hook of the contract.
    pub const ALL: [Self; 5] = [Self::Launch, Self::Connect, Self::Request, Self::Response, Self::Route];

    /// Name of the interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Connect => "connect",
            Self::Request => "request",
            Self::Response => "response",
            Self::Route => "route",
        }
    }
}

impl std::fmt::Display for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What an example expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// No opinion.
    Abstain,
    /// Allowed.
    Allow,
    /// Denied.
    Deny,
}

impl Expectation {
    /// What a verdict comes to.
    pub fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Abstain => Self::Abstain,
            Verdict::Allow(_) => Self::Allow,
            Verdict::Deny(_) => Self::Deny,
        }
    }
}

impl std::fmt::Display for Expectation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Abstain => "abstain",
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

/// A question with a known answer: the module's self-test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// The connection asked about.
    pub connection: Connection,
    /// Present: asks the `request` hook. Absent: asks the `connect` hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<HttpRequest>,
    /// The right answer.
    pub expect: Expectation,
}

/// What a signed artifact says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name its author gave it.
    pub name: String,
    /// Version its author gave it.
    pub version: String,
    /// `sha256:<hex>` of the component before it was baked.
    pub module: String,
    /// Contract it speaks: `openshell:policy@0.1.0`.
    pub contract: String,
    /// Hooks it has.
    pub hooks: BTreeSet<Hook>,
    /// Interfaces it imports (`view`, `log`, `clock`, `counters`), sorted.
    pub imports: Vec<String>,
    /// Its verdicts depend on its arguments and what it views, and on nothing else.
    pub pure_verdicts: bool,
    /// Longest request body it wants to see, in bytes.
    pub body_cap: u32,
    /// `sha256:<hex>` of the settings it was baked with, as compact JSON.
    pub settings_digest: String,
    /// Its self-test.
    pub examples: Vec<Example>,
    /// Which engine its code runs in.
    pub compatibility: String,
}

impl Manifest {
    /// `name@version`.
    pub fn name_version(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

/// Why an artifact was not opened. Nothing of it was used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// Too short to be one.
    #[error("artifact is truncated: {found} bytes")]
    Truncated {
        /// Its length.
        found: usize,
    },
    /// Longer than any artifact may be.
    #[error("artifact has {found} bytes; the limit is {limit}")]
    TooLarge {
        /// Its length.
        found: usize,
        /// [`MAX_ARTIFACT`].
        limit: usize,
    },
    /// Its bytes are not the ones that were asked for.
    #[error("artifact has digest {found}, expected {expected}")]
    DigestMismatch {
        /// Digest that was asked for.
        expected: String,
        /// Digest of the bytes.
        found: String,
    },
    /// It was not signed by this key.
    #[error("artifact is not signed by the gateway's key")]
    Signature,
    /// Signed, but not an artifact of a format this engine knows.
    #[error("artifact has an unknown format: {found}")]
    Format {
        /// Its first bytes, in hex.
        found: String,
    },
    /// Signed, but its parts don't add up.
    #[error("artifact is malformed: {detail}")]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
}

/// A verified artifact: it exists only if its digest and its signature matched.
#[derive(Debug, Clone)]
pub struct Artifact {
    manifest: Manifest,
    digest: String,
    code: Vec<u8>,
}

impl Artifact {
    /// Opens an artifact. Refuses it unless its SHA-256 is `expected_digest` (`sha256:<hex>`) and `key` signed it.
    pub fn open(bytes: &[u8], expected_digest: &str, key: &VerifyingKey) -> Result<Self, ArtifactError> {
        if bytes.len() > MAX_ARTIFACT {
            return Err(ArtifactError::TooLarge { found: bytes.len(), limit: MAX_ARTIFACT });
        }
        let found = digest(bytes);
        if found != expected_digest {
            return Err(ArtifactError::DigestMismatch { expected: expected_digest.to_owned(), found });
        }
        let Some((signed, signature)) = bytes.split_last_chunk::<SIGNATURE>() else {
            return Err(ArtifactError::Truncated { found: bytes.len() });
        };
        key.verify_strict(&message(signed), &Signature::from_bytes(signature)).map_err(|_| ArtifactError::Signature)?;

        let (manifest, code) = parse(signed)?;
        Ok(Self { manifest, digest: found, code: code.to_vec() })
    }

    /// The same artifact signed by another key: its bytes are the same but for the signature. Refuses one that [`Self::open`] would.
    pub fn sign_anew(
        bytes: &[u8],
        expected_digest: &str,
        from: &VerifyingKey,
        to: &SigningKey,
    ) -> Result<(Manifest, Vec<u8>), ArtifactError> {
        let Self { manifest, .. } = Self::open(bytes, expected_digest, from)?;
        let unsigned = &bytes[..bytes.len() - SIGNATURE];
        Ok((manifest, with_signature(unsigned.to_vec(), to)))
    }

    /// What it says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// `sha256:<hex>` of the whole artifact.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Precompiled code, from the holder of the key.
    pub(crate) fn code(&self) -> &[u8] {
        &self.code
    }
}

/// `sha256:<hex>` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Puts an artifact together and signs it.
#[cfg_attr(not(any(test, feature = "compile")), allow(dead_code))]
pub(crate) fn seal(manifest: &Manifest, code: &[u8], key: &SigningKey) -> Result<Vec<u8>, ArtifactError> {
    let manifest =
        serde_json::to_vec(manifest).map_err(|error| ArtifactError::Malformed { detail: error.to_string() })?;
    let length = u32::try_from(manifest.len())
        .map_err(|_| ArtifactError::Malformed { detail: "manifest is longer than 4 GiB".to_owned() })?;
    let total = MAGIC.len() + 4 + manifest.len() + 8 + code.len() + SIGNATURE;
    if total > MAX_ARTIFACT {
        return Err(ArtifactError::TooLarge { found: total, limit: MAX_ARTIFACT });
    }
    let mut bytes = Vec::with_capacity(total);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&manifest);
    bytes.extend_from_slice(&(code.len() as u64).to_le_bytes());
    bytes.extend_from_slice(code);
    Ok(with_signature(bytes, key))
}

/// These bytes, and a signature over them.
fn with_signature(mut bytes: Vec<u8>, key: &SigningKey) -> Vec<u8> {
    use ed25519_dalek::Signer;

    let signature = key.sign(&message(&bytes));
    bytes.extend_from_slice(&signature.to_bytes());
    bytes
}

fn message(signed: &[u8]) -> Vec<u8> {
    [CONTEXT, Sha256::digest(signed).as_slice()].concat()
}

fn parse(signed: &[u8]) -> Result<(Manifest, &[u8]), ArtifactError> {
    let malformed = |detail: &str| ArtifactError::Malformed { detail: detail.to_owned() };
    let Some((magic, rest)) = signed.split_first_chunk::<8>() else {
        return Err(ArtifactError::Truncated { found: signed.len() });
    };
    if *magic != MAGIC {
        return Err(ArtifactError::Format { found: hex::encode(magic) });
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| malformed("no manifest"))?;
    let length = u32::from_le_bytes(*length) as usize;
    let (manifest, rest) = rest.split_at_checked(length).ok_or_else(|| malformed("manifest is cut short"))?;
    let (length, code) = rest.split_first_chunk::<8>().ok_or_else(|| malformed("no code"))?;
    if u64::from_le_bytes(*length) != code.len() as u64 {
        return Err(malformed("code has another length than stated"));
    }
    let manifest =
        serde_json::from_slice(manifest).map_err(|error| ArtifactError::Malformed { detail: error.to_string() })?;
    Ok((manifest, code))
}

#[cfg(test)]
mod tests;
