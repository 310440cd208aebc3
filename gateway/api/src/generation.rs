//! Generations: everything a sandbox enforces, immutable, numbered, signed.

use std::collections::BTreeMap;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::inference::{Budget, Catalogue, InferenceRules};
use crate::module::Binding;
use crate::provider::CredentialRule;

/// What a sandbox enforces. Holds no secret: credentials are named, their values travel apart and stay in memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Generation {
    /// The sandbox this was made for; another one refuses it.
    pub sandbox_id: String,
    /// Strictly increasing per sandbox; a sandbox refuses to go backwards.
    pub number: u64,
    /// RFC 3339, UTC.
    #[schema(value_type = String)]
    pub created_at: jiff::Timestamp,
    /// Why it exists: `push rules@3`, `rollback to 4` …
    pub cause: String,
    /// What it enforces.
    pub content: Content,
}

/// The enforced part of a [`Generation`]: two generations with equal content enforce the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Content {
    /// Gateway-wide chain; when not empty it must end in allow as well.
    #[serde(default)]
    pub ceiling: Vec<Binding>,
    /// The sandbox's own chain.
    #[serde(default)]
    pub chain: Vec<Binding>,
    /// Asked and not obeyed: what they would have changed is recorded. Each stands for the binding of its name in the
    /// chain, or joins it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadow: Vec<Binding>,
    /// What the chain does not allow is allowed all the same and recorded; the ceiling and the host's own refusals hold.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observe: bool,
    /// The module behind the `route` hook; absent: inference requests are refused.
    #[serde(default)]
    pub router: Option<Binding>,
    /// Inference backends it may be given.
    #[serde(default)]
    pub catalogue: Catalogue,
    /// Budgets, model aliases and models for inference.
    #[serde(default, skip_serializing_if = "InferenceRules::is_empty")]
    pub inference: InferenceRules,
    /// Budgets that it shares with the other sandboxes of its owner; it spends what the gateway deals it (`share`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owner_budgets: Vec<Budget>,
    /// Credentials that grants may name: name → where and how it is attached.
    #[serde(default)]
    pub credentials: BTreeMap<String, CredentialRule>,
}

impl Content {
    /// Every binding, obeyed or not.
    pub fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.ceiling.iter().chain(&self.chain).chain(&self.shadow).chain(&self.router)
    }

    /// The same, to be changed.
    pub fn bindings_mut(&mut self) -> impl Iterator<Item = &mut Binding> {
        self.ceiling.iter_mut().chain(&mut self.chain).chain(&mut self.shadow).chain(&mut self.router)
    }
}

/// A generation with the gateway's signature over its exact bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedGeneration {
    /// The JSON text that was signed, byte for byte.
    pub payload: String,
    /// Ed25519 signature (RFC 8032) over [`SIGNING_CONTEXT`] and `payload`, base64.
    pub signature: String,
}

/// Prefix of what is signed, so that a signature made for one purpose can't serve another.
pub const SIGNING_CONTEXT: &[u8] = b"openshell generation v1\n";

/// Why a signed generation was refused.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// The signature is not 64 bytes of base64.
    #[error("the generation's signature is malformed")]
    MalformedSignature,
    /// The signature does not match the payload and the gateway's key.
    #[error("the generation was not signed by this sandbox's gateway, or was changed since")]
    BadSignature,
    /// The payload is not a generation.
    #[error("the generation does not parse: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl SignedGeneration {
    /// Serializes and signs.
    pub fn sign(generation: &Generation, key: &SigningKey) -> Result<Self, serde_json::Error> {
        let payload = serde_json::to_string(generation)?;
        let signature = key.sign(&message(&payload));
        Ok(Self { payload, signature: base64_encode(&signature.to_bytes()) })
    }

    /// Checks the signature, then parses. Refuses anything the key did not sign; parses nothing before that.
    pub fn verify(&self, key: &VerifyingKey) -> Result<Generation, GenerationError> {
        let bytes = base64_decode(&self.signature).ok_or(GenerationError::MalformedSignature)?;
        let signature = Signature::from_slice(&bytes).map_err(|_| GenerationError::MalformedSignature)?;
        key.verify_strict(&message(&self.payload), &signature).map_err(|_| GenerationError::BadSignature)?;
        Ok(serde_json::from_str(&self.payload)?)
    }
}

fn message(payload: &str) -> Vec<u8> {
    [SIGNING_CONTEXT, payload.as_bytes()].concat()
}

fn base64_encode(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn base64_decode(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// One line of `GET /v1/sandboxes/{name}/generations`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GenerationSummary {
    /// Number.
    pub number: u64,
    /// Why it exists.
    pub cause: String,
    /// RFC 3339, UTC.
    #[schema(value_type = String)]
    pub created_at: jiff::Timestamp,
    /// Whether the sandbox acknowledged that it enforces this one now.
    pub enforcing: bool,
    /// `name@version` of each policy of the sandbox's chain.
    pub policies: Vec<String>,
    /// `name@version` of the router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<String>,
}
