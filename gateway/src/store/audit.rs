//! The audit trail: appended to in the transaction of what it tells of; its head signed, in that transaction, and once more beside the
//! database.
//!
//! Gateways of one database go on from each other's links: each takes an end that it did not write itself for genuine if the signed head
//! says so and the last link it knew of is still there. So whoever writes to the database without the key is noticed by all of them, and
//! whoever puts an older state of it back by each that has seen the newer one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use openshell_api::audit::{AuditHead, AuditLink, BROKEN_ACTION, FIRST, LinkHash, hash_text, link_hash};
use openshell_api::generation::SignedGeneration;
use openshell_api::signing::GatewayKey;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::db::{Builder, Row, Transaction, query, query_scalar};
use super::{Numbered, Store, StoreError, int, uint};
use crate::audit::Change;
use crate::secrets::Keyring;
use crate::signing::Signing;
use crate::state_dir::StateDirError;

/// Number and hash of a link.
type Place = (u64, LinkHash);

/// The trail's head as this process knows it, and where it is kept.
pub(super) struct Trail {
    pub(super) signing: Arc<Signing>,
    /// Present: other gateways turn the signing key, too.
    pub(super) keyring: Option<Arc<Keyring>>,
    path: PathBuf,
    head: Mutex<Place>,
    moved: Notify,
    /// Held while the head is written. `true`: it was written for the last time, for the state directory may be another gateway's.
    closed: Mutex<bool>,
}

/// Which links to answer.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Only those after this one; before it, where the newest are asked for.
    pub after: Option<i64>,
    /// Only of this user.
    pub user: Option<String>,
    /// Only those whose action is this or begins with it and a dot.
    pub action: Option<String>,
    /// Only those on this object.
    pub object: Option<String>,
    /// Only from this time on.
    pub since: Option<jiff::Timestamp>,
    /// From the newest back, instead of from the oldest on.
    pub newest: bool,
    /// At most so many.
    pub limit: u32,
}

impl Trail {
    pub(super) fn new(signing: Arc<Signing>, keyring: Option<Arc<Keyring>>, path: PathBuf) -> Self {
        Self { signing, keyring, path, head: Mutex::new((0, FIRST)), moved: Notify::new(), closed: Mutex::default() }
    }

    fn head(&self) -> Place {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, to: Place) {
        {
            let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
            if to.0 <= head.0 {
                return;
            }
            *head = to;
        }
        self.moved.notify_one();
    }

    fn signed(&self) -> AuditHead {
        let (seq, hash) = self.head();
        self.sign(seq, &hash)
    }

    fn sign(&self, seq: u64, hash: &LinkHash) -> AuditHead {
        AuditHead::sign(seq, hash, &self.signing.key())
    }

    fn keep(&self, last: bool) {
        if let Err(error) = self.try_keep(last) {
            tracing::error!(%error, "the head of the audit trail could not be kept");
        }
    }

    fn try_keep(&self, last: bool) -> Result<(), StateDirError> {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Ok(());
        }
        *closed = last;
        let text = serde_json::to_vec(&self.signed()).unwrap_or_default();
        crate::state_dir::write_private(&self.path, &text)
    }

    /// What the database must agree with: the head that was kept. `Err`: what is wrong with it.
    fn kept(&self) -> Result<Option<Place>, String> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("the signed head can't be read: {error}")),
        };
        let head: AuditHead = serde_json::from_slice(&text).map_err(|_| "the signed head is damaged".to_owned())?;
        // Others may have turned the key while this gateway was away. Whoever can write here can read the key of now.
        let once = |key| self.keyring.is_some() && self.signing.past().contains(&key);
        let place = self.place(&head, |key| self.signing.owns(&key) || once(key));
        place.map(Some).ok_or_else(|| "the signed head does not bear this gateway's signature".to_owned())
    }

    /// What a head says, if it bears a signature that is `ours`.
    fn place(&self, head: &AuditHead, ours: impl Fn(GatewayKey) -> bool) -> Option<Place> {
        let hash = openshell_api::audit::parse_hash(&head.hash)?;
        let ours = head.key.parse().is_ok_and(ours) && head.holds();
        ours.then_some((head.seq, hash))
    }

    fn parse(&self, head: &str) -> Option<Place> {
        self.place(&serde_json::from_str(head).ok()?, |key| self.signing.owns(&key))
    }
}

/// A transaction whose change has its place in the trail. Dropped, neither is.
pub(super) struct Changing<'a> {
    tx: Transaction,
    trail: &'a Trail,
    head: Place,
}

impl Changing<'_> {
    /// For the change itself.
    pub(super) fn tx(&mut self) -> &mut Transaction {
        &mut self.tx
    }

    /// Refuses a generation that another key than that of now has signed, where others may have turned it meanwhile.
    pub(super) fn check_signer(&self, generation: &SignedGeneration) -> Result<(), StoreError> {
        let turns = self.trail.keyring.is_some() && self.trail.signing.voucher().is_some();
        match !turns || generation.verify(self.trail.signing.public().verifying()).is_ok() {
            true => Ok(()),
            false => Err(StoreError::Outdated),
        }
    }

    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        sign(&mut self.tx, &self.trail.sign(self.head.0, &self.head.1)).await?;
        self.tx.commit().await?;
        self.trail.advance(self.head);
        Ok(())
    }
}

impl Store {
    /// Begins a change, with its entry at the end of the trail.
    pub(super) async fn changing(&self, change: &Change) -> Result<Changing<'_>, StoreError> {
        let mut tx = self.begin_trail().await?;
        let mut head = last(&mut tx).await?;
        let known = self.trail.head();
        if head != known && !self.went_on(&mut tx, known, head).await? {
            // Somebody wrote to the database who is no gateway of it.
            let reason = format!("the trail ended at link {}, and now at link {}", known.0, head.0);
            head = append_broken(&mut tx, head, known, &reason).await?;
        }
        let head = append(&mut tx, head, change).await?;
        Ok(Changing { tx, trail: &self.trail, head })
    }

    /// Writes an entry of its own: of a refusal, or of a change that was made elsewhere.
    pub async fn tell(&self, change: &Change) -> Result<(), StoreError> {
        self.changing(change).await?.commit().await
    }

    /// Whether the trail went on from a place to another one by the hands of gateways alone: the first is still in it, and its end is
    /// signed.
    async fn went_on(&self, tx: &mut Transaction, from: Place, to: Place) -> Result<bool, StoreError> {
        let still = from.0 == 0 || hash_at(tx, from.0).await? == Some(from.1);
        Ok(still && self.trail.parse(signed_head(tx).await?.as_deref().unwrap_or_default()) == Some(to))
    }

    /// Takes the trail up where the last gateway left it. What does not agree with the head it signed is written down in the trail.
    pub(super) async fn take_up_trail(&self) -> Result<(), StoreError> {
        let mut tx = self.begin_trail().await?;
        let found = last(&mut tx).await?;
        let (kept, reason) = match self.trail.kept() {
            Err(reason) => ((0, FIRST), Some(reason)),
            // Another gateway of the same database may have written all of it.
            Ok(None) if self.is_shared() && self.went_on(&mut tx, (0, FIRST), found).await? => (found, None),
            Ok(None) if found.0 > 0 => ((0, FIRST), Some("the signed head is missing".to_owned())),
            Ok(None) => ((0, FIRST), None),
            Ok(Some(kept)) if kept.0 > found.0 => {
                let reason =
                    format!("the trail ends at link {}, and link {} was signed: its end was cut off", found.0, kept.0);
                (kept, Some(reason))
            }
            Ok(Some(kept)) if kept.0 > 0 && hash_at(&mut tx, kept.0).await? != Some(kept.1) => {
                (kept, Some(format!("link {} is not the one that was signed", kept.0)))
            }
            Ok(Some(kept)) if kept != found && !self.went_on(&mut tx, kept, found).await? => {
                (kept, Some(format!("links after {} were not written by a gateway", kept.0)))
            }
            Ok(Some(kept)) => (kept, None),
        };
        let mut head = found;
        if let Some(reason) = reason {
            tracing::error!(reason, "the audit trail was tampered with");
            head = append_broken(&mut tx, found, kept, &reason).await?;
        }
        sign(&mut tx, &self.trail.sign(head.0, &head.1)).await?;
        tx.commit().await?;
        *self.trail.head.lock().unwrap_or_else(PoisonError::into_inner) = head;
        self.trail.keep(false);
        Ok(())
    }

    /// Keeps the head wherever it moves, for as long as the gateway lives. It is behind the trail for a moment, so that no change
    /// waits for it.
    pub(crate) fn follow_trail(&self) -> impl Future<Output = ()> + Send + 'static {
        let trail: Arc<Trail> = self.trail.clone();
        async move {
            loop {
                trail.moved.notified().await;
                let trail = trail.clone();
                let _ = tokio::task::spawn_blocking(move || trail.keep(false)).await;
            }
        }
    }

    /// Keeps the head as it is now, signed with the key of now.
    pub fn keep_trail_head(&self) -> Result<(), StateDirError> {
        self.trail.try_keep(false)
    }

    /// Keeps the head as it is now, for the last time.
    pub(super) fn close_trail(&self) {
        self.trail.keep(true);
    }

    /// The head, signed. Where several gateways write, it is the database's, if that goes on from the one that this gateway knows.
    pub async fn audit_head(&self) -> Result<AuditHead, StoreError> {
        if self.is_shared() {
            let mut tx = self.begin_trail().await?;
            let (known, found) = (self.trail.head(), last(&mut tx).await?);
            if found != known && self.went_on(&mut tx, known, found).await? {
                self.trail.advance(found);
            }
        }
        Ok(self.trail.signed())
    }

    /// Links with their numbers, in the order that was asked for.
    pub async fn audit(&self, query: &AuditQuery) -> Result<Vec<Numbered<AuditLink>>, StoreError> {
        let mut sql = Builder::new("SELECT seq, entry, hash FROM audit WHERE seq ");
        match query.newest {
            true => sql.push("< ").push_bind(query.after.unwrap_or(i64::MAX)),
            false => sql.push("> ").push_bind(query.after.unwrap_or(0)),
        };
        if let Some(user) = &query.user {
            sql.push(" AND json_extract(entry, '$.user') = ").push_bind(user);
        }
        if let Some(action) = &query.action {
            sql.push(" AND (json_extract(entry, '$.action') = ").push_bind(action);
            sql.push(" OR substr(json_extract(entry, '$.action'), 1, CAST(")
                .push_bind(action.len() as i64 + 1)
                .push(" AS INTEGER)) = ");
            sql.push_bind(format!("{action}.")).push(")");
        }
        if let Some(object) = &query.object {
            sql.push(" AND json_extract(entry, '$.object') = ").push_bind(object);
        }
        if let Some(since) = query.since {
            // Times are written with as many digits as they need, so they are held against each other as times.
            sql.push(" AND julianday(json_extract(entry, '$.at')) >= julianday(")
                .push_bind(since.to_string())
                .push(")");
        }
        sql.push(if query.newest { " ORDER BY seq DESC LIMIT " } else { " ORDER BY seq LIMIT " });
        sql.push_bind(i64::from(query.limit));
        let rows = sql.build().fetch_all(&self.read).await?;
        rows.iter().map(|row| Ok(Numbered { seq: row.try_get("seq")?, item: link(row)? })).collect()
    }
}

fn link(row: &Row) -> Result<AuditLink, StoreError> {
    let text: String = row.try_get("entry")?;
    // What is no JSON any more is passed on as a text, so that whoever verifies it finds where the trail is broken.
    let entry = match RawValue::from_string(text.clone()) {
        Ok(entry) => entry,
        Err(_) => serde_json::value::to_raw_value(&text)
            .map_err(|source| StoreError::Corrupt { what: "audit entry", source })?,
    };
    let hash: Vec<u8> = row.try_get("hash")?;
    Ok(AuditLink { entry, hash: format!("sha256:{}", hex::encode(hash)) })
}

async fn last(tx: &mut Transaction) -> Result<Place, StoreError> {
    let row = query("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetch_optional(tx).await?;
    let Some(row) = row else { return Ok((0, FIRST)) };
    let hash: Vec<u8> = row.try_get("hash")?;
    // A hash of another length follows from nothing.
    Ok((uint(row.try_get("seq")?), hash.try_into().unwrap_or(FIRST)))
}

async fn hash_at(tx: &mut Transaction, seq: u64) -> Result<Option<LinkHash>, StoreError> {
    let hash: Option<Vec<u8>> =
        query_scalar("SELECT hash FROM audit WHERE seq = $1").bind(int(seq)).fetch_optional(tx).await?;
    Ok(hash.and_then(|hash| hash.try_into().ok()))
}

/// The head as the gateway that wrote last has signed it.
async fn signed_head(tx: &mut Transaction) -> Result<Option<String>, StoreError> {
    Ok(query_scalar("SELECT head FROM audit_head WHERE id = 1").fetch_optional(tx).await?)
}

async fn sign(tx: &mut Transaction, head: &AuditHead) -> Result<(), StoreError> {
    query("INSERT INTO audit_head (id, head) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET head = excluded.head")
        .bind(super::json("audit head", head)?)
        .execute(tx)
        .await?;
    Ok(())
}

async fn append(tx: &mut Transaction, before: Place, change: &Change) -> Result<Place, StoreError> {
    let seq = before.0 + 1;
    let entry = super::json("audit entry", &change.entry(seq, jiff::Timestamp::now()))?;
    let hash = link_hash(&before.1, &entry);
    query("INSERT INTO audit (seq, entry, hash) VALUES ($1, $2, $3)")
        .bind(int(seq))
        .bind(entry)
        .bind(hash.as_slice())
        .execute(tx)
        .await?;
    Ok((seq, hash))
}

async fn append_broken(tx: &mut Transaction, found: Place, expected: Place, reason: &str) -> Result<Place, StoreError> {
    let detail = json!({ "reason": reason, "signed": { "seq": expected.0, "hash": hash_text(&expected.1) } });
    let change = Change::new(None, BROKEN_ACTION, String::new()).noticed().detail(detail);
    append(tx, found, &change).await
}
