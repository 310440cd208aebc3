//! How far a turn of the signing key is, in a file beside the key's own.

use std::path::Path;

use ed25519_dalek::SigningKey;
use openshell_api::signing::{GatewayKey, Voucher};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::secrets::{SIGNING_KEY_FILE, parse_signing_key};
use crate::state_dir::{StateDirError, read_json, write_json, write_private};

/// How far it is; absent: the key never turned.
pub const TURN_FILE: &str = "signing-turn.json";
/// So many vouchers are kept. Who was away for more turns than that has to be started anew.
const MAX_VOUCHERS: usize = 32;

/// How far a turn is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Turn {
    /// A key that does not sign yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Seed>,
    /// The key before, while it is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// How each key followed from the one before it, oldest first.
    #[serde(default)]
    pub vouchers: Vec<Voucher>,
}

/// A key that was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Previous {
    /// Its public half.
    pub key: GatewayKey,
    /// Its private half, while something of the gateway's own needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Seed>,
}

impl Previous {
    /// With its secret.
    pub fn of(key: &SigningKey) -> Self {
        Self { key: GatewayKey::of(key), secret: Some(Seed::new(key)) }
    }
}

/// A private key, as it is written; wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Seed {
    text: Zeroizing<String>,
    key: SigningKey,
}

impl Seed {
    pub fn new(key: &SigningKey) -> Self {
        let bytes = Zeroizing::new(key.to_bytes());
        Self { text: Zeroizing::new(hex::encode(bytes.as_slice())), key: key.clone() }
    }

    /// As its file holds it.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn key(&self) -> SigningKey {
        self.key.clone()
    }

    pub fn public(&self) -> GatewayKey {
        GatewayKey::of(&self.key)
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the secret of {}", self.public())
    }
}

impl Serialize for Seed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let key = parse_signing_key(text.as_bytes()).ok_or_else(|| serde::de::Error::custom("it is no key"))?;
        Ok(Self::new(&key))
    }
}

/// The key that signs, with its secret, and how far its turn is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKeys {
    pub(super) key: Seed,
    pub(super) turn: Turn,
}

impl SigningKeys {
    /// The key that is to sign next.
    pub fn next(&self) -> Option<GatewayKey> {
        self.turn.next.as_ref().map(Seed::public)
    }

    /// Its secret.
    pub(crate) fn secret(&self) -> SigningKey {
        self.key.key()
    }

    /// Its file, and what is in it.
    pub(crate) fn file(&self) -> (&'static str, &str) {
        (SIGNING_KEY_FILE, self.key.text())
    }

    /// Puts them into a state directory in the place of those of `before`, if there were some. Cut off anywhere, the directory holds the
    /// one key or the other.
    pub(crate) fn write(&self, root: &Path, before: Option<&GatewayKey>) -> Result<(), StateDirError> {
        if before != Some(&self.key.public()) {
            Turn { next: Some(self.key.clone()), ..self.turn.clone() }.write(root)?;
            // The one moment.
            write_private(&root.join(SIGNING_KEY_FILE), self.key.text().as_bytes())?;
        }
        self.turn.write(root)
    }
}

impl Turn {
    /// Of a state directory.
    pub fn read(root: &Path) -> Result<Self, StateDirError> {
        Ok(read_json(&root.join(TURN_FILE))?.unwrap_or_default())
    }

    /// Puts it there.
    pub fn write(&self, root: &Path) -> Result<(), StateDirError> {
        write_json(&root.join(TURN_FILE), self)
    }

    /// With a next key, which the one that signs vouches for.
    pub fn with_next(mut self, next: Seed, by: &SigningKey) -> Self {
        self.vouchers.push(Voucher::sign(next.public(), by));
        let surplus = self.vouchers.len().saturating_sub(MAX_VOUCHERS);
        self.vouchers.drain(..surplus);
        Self { next: Some(next), ..self }
    }

    /// What it says where this is the key that signs. A change writes down the key before, puts the next one in its place, and then takes it out
    /// of here: cut off in between, either the first never happened or the last is done now.
    pub fn where_signs(mut self, key: &GatewayKey) -> Self {
        if self.next.as_ref().is_some_and(|next| next.public() == *key) {
            self.next = None;
        } else if self.next.is_some() {
            self.previous = None;
        }
        self
    }
}
