//! The key with which a gateway signs what sandboxes enforce, and how trust goes on from one such key to the next.
//!
//! A key that is to follow another one is vouched for by it. So whoever trusts the one learns of the next from anybody, and from nobody
//! that it did not choose.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::name::Name;

const SCHEME: &str = "ed25519:";

/// A gateway's public key: `ed25519:<hex>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct GatewayKey(VerifyingKey);

/// A text is no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a gateway's key: `ed25519:` and the 64 hexadecimal digits of an Ed25519 key")]
pub struct InvalidGatewayKey(pub String);

impl GatewayKey {
    /// The public half of a private key.
    pub fn of(key: &SigningKey) -> Self {
        Self(key.verifying_key())
    }

    /// Reads 64 hexadecimal digits. Refuses what is no key, and a weak one: such accept signatures that nobody made.
    pub fn from_hex(text: &str) -> Option<Self> {
        let bytes: [u8; 32] = hex::decode(text).ok()?.try_into().ok()?;
        VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak()).map(Self)
    }

    /// The same without the scheme before it.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0.as_bytes())
    }

    /// For those who verify.
    pub fn verifying(&self) -> &VerifyingKey {
        &self.0
    }
}

impl fmt::Display for GatewayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.to_hex())
    }
}

impl fmt::Debug for GatewayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for GatewayKey {
    type Err = InvalidGatewayKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let key = text.strip_prefix(SCHEME).and_then(Self::from_hex);
        key.ok_or_else(|| InvalidGatewayKey(text.to_owned()))
    }
}

impl Serialize for GatewayKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GatewayKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A key's word for the one that follows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    /// What may be trusted.
    pub key: GatewayKey,
    /// By whoever trusts this one.
    pub by: GatewayKey,
    /// Ed25519 (RFC 8032) of `by` over `openshell gateway key v1\n<key>`, hex.
    pub signature: String,
}

impl Voucher {
    /// Vouches for a key.
    pub fn sign(key: GatewayKey, by: &SigningKey) -> Self {
        Self { key, by: GatewayKey::of(by), signature: hex::encode(by.sign(&message(&key)).to_bytes()) }
    }

    /// Whether the key it names made it.
    pub fn holds(&self) -> bool {
        let signature = hex::decode(&self.signature).ok().and_then(|bytes| Signature::from_slice(&bytes).ok());
        signature.is_some_and(|signature| self.by.0.verify_strict(&message(&self.key), &signature).is_ok())
    }
}

fn message(key: &GatewayKey) -> Vec<u8> {
    format!("openshell gateway key v1\n{key}").into_bytes()
}

/// The keys that may be trusted by whoever trusts these. Vouchers that do not hold, or that nobody trusted has made, count for nothing.
pub fn reachable(trusted: &[GatewayKey], vouchers: &[Voucher]) -> Vec<GatewayKey> {
    let mut reached = trusted.to_vec();
    loop {
        let new = |voucher: &&Voucher| reached.contains(&voucher.by) && !reached.contains(&voucher.key);
        match vouchers.iter().filter(new).find(|voucher| voucher.holds()) {
            Some(voucher) => reached.push(voucher.key),
            None => return reached,
        }
    }
}

/// Which key a gateway signs with, and how far its turn to a new one is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SigningState {
    /// The key that signs: `ed25519:<hex>`.
    pub key: String,
    /// The one that signs as soon as every sandbox that is linked trusts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The one that signed before, while it is trusted, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Sandboxes that the turn waits for: those that do not trust the newest key or, once that signs, do not enforce what it has signed.
    /// While no key turns: those that do not trust this gateway's key at all.
    pub awaits: Vec<Name>,
    /// URLs of gateways of the same database that live, and have not taken the newest keys over or could not be asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<String>,
}

/// Body of `POST /v1/signing-key/finish`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishSigningTurn {
    /// Also where the turn waits for sandboxes: those learn of it when they are linked again, or when they are started.
    #[serde(default)]
    pub force: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    fn key(n: u8) -> GatewayKey {
        GatewayKey::of(&secret(n))
    }

    #[test]
    fn trust_goes_where_vouchers_lead_and_nowhere_else() {
        let to = |to: u8, by: u8| Voucher::sign(key(to), &secret(by));
        let claimed = |to: u8, by: u8| Voucher { by: key(by), ..Voucher::sign(key(to), &secret(9)) };
        let check = |trusted: &[u8], vouchers: &[Voucher], expected: &[u8]| {
            let keys = |of: &[u8]| of.iter().map(|n| key(*n)).collect::<Vec<_>>();
            assert_eq!(reachable(&keys(trusted), vouchers), keys(expected), "{trusted:?} {vouchers:?}");
        };
        check(&[1], &[], &[1]);
        check(&[1], &[to(2, 1)], &[1, 2]);
        check(&[1], &[to(3, 2), to(2, 1)], &[1, 2, 3]);
        check(&[2], &[to(2, 1), to(3, 2)], &[2, 3]);
        check(&[1], &[to(3, 2)], &[1]);
        check(&[1], &[claimed(2, 1)], &[1]);
        check(&[1], &[Voucher { key: key(3), ..to(2, 1) }], &[1]);
        check(&[1], &[Voucher { signature: "?".to_owned(), ..to(2, 1) }], &[1]);
        check(&[], &[to(2, 1)], &[]);
    }

    #[test]
    fn a_key_is_one_text() {
        let text = key(1).to_string();
        assert_eq!(text.parse(), Ok(key(1)));
        assert_eq!(serde_json::from_str::<GatewayKey>(&format!("{text:?}")).unwrap(), key(1));
        let weak = format!("ed25519:01{}", "0".repeat(62));
        for bad in ["", "ed25519:", &text[8..], &text[..70], &weak, "ed25519:zz"] {
            assert_eq!(bad.parse::<GatewayKey>(), Err(InvalidGatewayKey(bad.to_owned())));
        }
    }
}
