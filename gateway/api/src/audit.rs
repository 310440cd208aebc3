//! The audit trail: who changed what, from where, and what it was before. Each entry is chained to the one before it by a hash, so
//! that a changed, missing or added one is found; a signature over the newest one shows that none is missing at the end.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::signing::{self, GatewayKey, Voucher};
use crate::user::{Role, Via};

/// What became of an attempt to change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused, or failed: `detail` says why.
    Refused,
    /// The gateway noticed something by itself.
    Noticed,
}

/// One entry. Holds no secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditEntry {
    /// 1, 2, 3 …
    pub seq: u64,
    /// RFC 3339, UTC.
    #[schema(value_type = String)]
    pub at: jiff::Timestamp,
    /// Who; absent: nobody that the gateway knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// In which role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// How that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// Id of the gateway's token that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// From where: an address; absent: the gateway itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What: `sandbox.create`, `policy.push` …
    pub action: String,
    /// On what: a sandbox's, a user's, a provider's name …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub object: String,
    /// What became of it.
    pub outcome: Outcome,
    /// In words or facts, where there is more to say.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
    /// What was there before; null: nothing.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    #[schema(value_type = Object)]
    pub before: serde_json::Value,
    /// What is there now; null: nothing.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    #[schema(value_type = Object)]
    pub after: serde_json::Value,
}

/// An entry as it is kept and travels: the text that was hashed, and the hash.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditLink {
    /// The [`AuditEntry`], as text, byte for byte.
    #[schema(value_type = AuditEntry)]
    pub entry: Box<RawValue>,
    /// `sha256:<hex>` over the hash of the link before it (32 bytes; zeros before the first) and the entry's text.
    pub hash: String,
}

/// The newest entry, signed: kept beside the database, not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditHead {
    /// Its number; 0: the trail is empty.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
    /// Ed25519 (RFC 8032) over `openshell audit head v1\n<seq>\n<hash>`, hex.
    pub signature: String,
    /// Who signed: the gateway's key, `ed25519:<hex>`.
    pub key: String,
}

/// Hash of a link.
pub type LinkHash = [u8; 32];

/// Hash before the first link.
pub const FIRST: LinkHash = [0; 32];

/// Hash of a link whose entry has this text.
pub fn link_hash(before: &LinkHash, entry: &str) -> LinkHash {
    Sha256::new().chain_update(before).chain_update(entry.as_bytes()).finalize().into()
}

/// `sha256:<hex>`.
pub fn hash_text(hash: &LinkHash) -> String {
    format!("sha256:{}", hex::encode(hash))
}

/// What [`hash_text`] wrote.
pub fn parse_hash(text: &str) -> Option<LinkHash> {
    let mut hash = FIRST;
    hex::decode_to_slice(text.strip_prefix("sha256:")?, &mut hash).ok()?;
    Some(hash)
}

impl AuditHead {
    /// Signs.
    pub fn sign(seq: u64, hash: &LinkHash, key: &SigningKey) -> Self {
        let hash = hash_text(hash);
        let signature = hex::encode(key.sign(&message(seq, &hash)).to_bytes());
        let key = format!("ed25519:{}", hex::encode(key.verifying_key().as_bytes()));
        Self { seq, hash, signature, key }
    }

    /// Whether the key it names signed it.
    pub fn holds(&self) -> bool {
        let check = || {
            let key: [u8; 32] = hex::decode(self.key.strip_prefix("ed25519:")?).ok()?.try_into().ok()?;
            let signature = Signature::from_slice(&hex::decode(&self.signature).ok()?).ok()?;
            let key = VerifyingKey::from_bytes(&key).ok()?;
            key.verify_strict(&message(self.seq, &self.hash), &signature).ok()
        };
        check().is_some()
    }
}

fn message(seq: u64, hash: &str) -> Vec<u8> {
    format!("openshell audit head v1\n{seq}\n{hash}").into_bytes()
}

/// The first thing that is wrong with a trail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A link does not follow from the one before it: it was changed, or one before it was taken away or put in.
    #[error("link {seq} does not follow from the one before it: it was changed, or something before it was")]
    Link {
        /// The first such link, counted from 1.
        seq: u64,
    },
    /// A link says another number than its place.
    #[error("link {seq} is missing: the one in its place says that it is {found}")]
    Missing {
        /// Its place.
        seq: u64,
        /// What it says.
        found: u64,
    },
    /// A link is no entry.
    #[error("link {seq} is no entry: {reason}")]
    Unreadable {
        /// Its place.
        seq: u64,
        /// Why.
        reason: String,
    },
    /// The head is not signed by its key, or not by the one that was expected.
    #[error("the signature of the trail's head does not hold")]
    Head,
    /// The trail ends before its head.
    #[error("the trail ends at link {found}, and its signed head is link {head}: its end was cut off")]
    Truncated {
        /// Last link.
        found: u64,
        /// The head's.
        head: u64,
    },
    /// The link that the head names is another one.
    #[error("link {seq} is not the one that was signed: it, or something before it, was rewritten")]
    Rewritten {
        /// The head's.
        seq: u64,
    },
}

/// Checks a trail link by link, from its beginning.
#[derive(Debug, Clone)]
pub struct Verifier {
    head: AuditHead,
    /// Whom the caller trusts, where that is not who signed the head.
    trusted: Option<GatewayKey>,
    vouchers: Vec<Voucher>,
    seq: u64,
    hash: LinkHash,
    notices: Vec<AuditEntry>,
}

impl Verifier {
    /// Begins. Refuses a head whose signature does not hold. A key that the caller knows must be its key, or one that the head's key followed:
    /// the trail holds the vouchers then, and [`Self::finish`] follows them.
    pub fn new(head: AuditHead, key: Option<&str>) -> Result<Self, Broken> {
        let trusted = key.filter(|key| *key != head.key).map(str::parse).transpose().map_err(|_| Broken::Head)?;
        match head.holds() {
            true => Ok(Self { head, trusted, vouchers: Vec::new(), seq: 0, hash: FIRST, notices: Vec::new() }),
            false => Err(Broken::Head),
        }
    }

    /// Takes the next link. Refuses one that does not follow.
    pub fn take(&mut self, link: &AuditLink) -> Result<(), Broken> {
        let seq = self.seq + 1;
        let text = link.entry.get();
        let hash = link_hash(&self.hash, text);
        let entry: AuditEntry = match serde_json::from_str(text) {
            Ok(entry) => entry,
            Err(error) => return Err(Broken::Unreadable { seq, reason: error.to_string() }),
        };
        if entry.seq != seq {
            return Err(Broken::Missing { seq, found: entry.seq });
        }
        if parse_hash(&link.hash) != Some(hash) {
            return Err(Broken::Link { seq });
        }
        if seq == self.head.seq && hash_text(&hash) != self.head.hash {
            return Err(Broken::Rewritten { seq });
        }
        (self.seq, self.hash) = (seq, hash);
        if entry.action == SIGNING_ACTION {
            self.vouchers.extend(serde_json::from_value::<Voucher>(entry.detail["voucher"].clone()));
        }
        if entry.action == BROKEN_ACTION {
            self.notices.push(entry);
        }
        Ok(())
    }

    /// Ends: how many links hold, and the breaks that the gateway itself noticed and wrote down. Refuses a trail that ends before
    /// its head, and a head whose key does not follow from the one that the caller knows.
    pub fn finish(self) -> Result<(u64, Vec<AuditEntry>), Broken> {
        if let Some(trusted) = self.trusted {
            let reached = signing::reachable(&[trusted], &self.vouchers);
            if !reached.iter().any(|key| key.to_string() == self.head.key) {
                return Err(Broken::Head);
            }
        }
        match self.seq < self.head.seq {
            true => Err(Broken::Truncated { found: self.seq, head: self.head.seq }),
            false => Ok((self.seq, self.notices)),
        }
    }
}

/// Action of the entry with which a gateway says that its trail was tampered with while it was away.
pub const BROKEN_ACTION: &str = "audit.broken";

/// Action of the entry with which a gateway begins to sign with another key: its detail holds the [`Voucher`] of the one before.
pub const SIGNING_ACTION: &str = "signing_key.change";

#[cfg(test)]
mod tests {
    use super::*;

    fn trail(length: u64) -> Vec<AuditLink> {
        let mut hash = FIRST;
        let links = (1..=length).map(|seq| {
            let text = format!(
                r#"{{"seq":{seq},"at":"2026-01-01T00:00:00Z","action":"user.create","object":"u{seq}","outcome":"done"}}"#
            );
            hash = link_hash(&hash, &text);
            AuditLink { entry: RawValue::from_string(text).unwrap(), hash: hash_text(&hash) }
        });
        links.collect()
    }

    fn verified(links: &[AuditLink], head: &AuditHead) -> Result<u64, Broken> {
        known(links, head, None)
    }

    /// By somebody who knows a key.
    fn known(links: &[AuditLink], head: &AuditHead, key: Option<&str>) -> Result<u64, Broken> {
        let mut verifier = Verifier::new(head.clone(), key)?;
        for link in links {
            verifier.take(link)?;
        }
        Ok(verifier.finish()?.0)
    }

    #[test]
    fn whatever_is_done_to_a_trail_is_found_where_it_was_done() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let links = trail(5);
        let head = AuditHead::sign(5, &parse_hash(&links[4].hash).unwrap(), &key);
        assert_eq!(verified(&links, &head), Ok(5));
        assert_eq!(verified(&trail(7), &head), Ok(7), "what came after the head was signed is chained to it");

        for at in 0..5 {
            let seq = at as u64 + 1;
            let mut changed = links.clone();
            let text = changed[at].entry.get().replace("user.create", "user.delete");
            changed[at].entry = RawValue::from_string(text).unwrap();
            assert_eq!(verified(&changed, &head), Err(Broken::Link { seq }));
            let mut rehashed = links.clone();
            rehashed[at].hash = hash_text(&[1; 32]);
            assert_eq!(verified(&rehashed, &head), Err(Broken::Link { seq }));
            let mut missing = links.clone();
            missing.remove(at);
            let expected = match at {
                4 => Broken::Truncated { found: 4, head: 5 },
                _ => Broken::Missing { seq, found: seq + 1 },
            };
            assert_eq!(verified(&missing, &head), Err(expected));
        }
        // Rewritten from a link on, with every hash made anew.
        let mut rewritten = trail(5);
        let mut hash = FIRST;
        for link in &mut rewritten {
            let text = link.entry.get().replace("\"u", "\"x");
            hash = link_hash(&hash, &text);
            *link = AuditLink { entry: RawValue::from_string(text).unwrap(), hash: hash_text(&hash) };
        }
        assert_eq!(verified(&rewritten, &head), Err(Broken::Rewritten { seq: 5 }));
        let forged = AuditHead::sign(5, &hash, &SigningKey::from_bytes(&[8; 32]));
        assert_eq!(verified(&rewritten, &forged), Ok(5), "another key signs another truth …");
        assert_eq!(known(&rewritten, &forged, Some(&head.key)), Err(Broken::Head), "… unless one knows the key");
        assert_eq!(known(&links, &head, Some(&head.key)), Ok(5));
        assert_eq!(known(&links, &head, Some("no key")), Err(Broken::Head));
        assert_eq!(Verifier::new(AuditHead { seq: 4, ..head.clone() }, None).err(), Some(Broken::Head));
        assert_eq!(verified(&[], &AuditHead::sign(0, &FIRST, &key)), Ok(0));
    }

    #[test]
    fn who_knows_a_key_takes_the_word_of_that_one_for_the_next() {
        let [first, second, third] = [1, 2, 3].map(|n| SigningKey::from_bytes(&[n; 32]));
        let name = |key: &SigningKey| GatewayKey::of(key).to_string();
        let told = |action: &str, vouchers: &[Voucher]| {
            let mut hash = FIRST;
            let links: Vec<AuditLink> = vouchers
                .iter()
                .zip(1..)
                .map(|(voucher, seq)| {
                    let detail = serde_json::json!({ "voucher": voucher });
                    let text = format!(
                        r#"{{"seq":{seq},"at":"2026-01-01T00:00:00Z","action":"{action}","outcome":"done","detail":{detail}}}"#
                    );
                    hash = link_hash(&hash, &text);
                    AuditLink { entry: RawValue::from_string(text).unwrap(), hash: hash_text(&hash) }
                })
                .collect();
            (AuditHead::sign(vouchers.len() as u64, &hash, &third), links)
        };
        let check = |action: &str, vouchers: &[Voucher], knows: &SigningKey, expected: Result<u64, Broken>| {
            let (head, links) = told(action, vouchers);
            assert_eq!(known(&links, &head, Some(&name(knows))), expected, "{action} {vouchers:?}");
        };
        let (to_second, to_third) =
            (Voucher::sign(GatewayKey::of(&second), &first), Voucher::sign(GatewayKey::of(&third), &second));
        let both = [to_second.clone(), to_third.clone()];
        check(SIGNING_ACTION, &both, &first, Ok(2));
        check(SIGNING_ACTION, &both, &second, Ok(2));
        check(SIGNING_ACTION, &both, &third, Ok(2));
        check("another.action", &both, &first, Err(Broken::Head));
        check(
            SIGNING_ACTION,
            &[to_second, Voucher { by: GatewayKey::of(&first), ..to_third.clone() }],
            &first,
            Err(Broken::Head),
        );
        check(SIGNING_ACTION, &[to_third], &first, Err(Broken::Head));
    }
}
