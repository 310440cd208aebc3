//! Where bytes of modules are: in the database, or in a bucket that the database names.
//!
//! Bytes are there before the row that names them is committed, and what is read has the digest that was asked for, or is an error: a bucket
//! that others write to can't slip in a module. What is about to be put there is written down before it is, and removed again if no module comes
//! to name it ([`sweep`](super::sweep)), whenever a gateway dies. What a module has named is never removed: a backup of the database may be the
//! last one that knows of it.

use std::sync::Arc;

use bytes::Bytes;
use openshell_policy_host::digest;

use crate::bucket::{Bucket, BucketError};
use crate::error::{ApiError, ApiResult, refuse};
use crate::store::{Home, Spot, Store, StoreError};

/// When to ask again, where a bucket is away.
const RETRY_AFTER_S: u64 = 5;

/// Keeps bytes of modules and finds them again.
#[derive(Debug, Default)]
pub struct Homes {
    /// Where those of new modules go; absent: into the database.
    bucket: Option<Arc<Bucket>>,
    /// Whose doing it is that something is put there.
    gateway: String,
}

/// Why a gateway can't begin with the homes it was given.
#[derive(Debug, thiserror::Error)]
pub enum HomesError {
    /// The database, which knows where they are.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// Modules are where it was not told to look.
    #[error("{modules} modules are kept in {place}, which this gateway is not told to use")]
    Elsewhere {
        /// Where.
        place: String,
        /// How many.
        modules: u64,
    },
}

impl HomesError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Store(error) => return error.hint(),
            Self::Bucket(error) => error.hint(),
            Self::Elsewhere { .. } => {
                "start it with --modules and that place, or take them into the database first: openshell-gateway move-modules --to database"
            }
        })
    }
}

impl Homes {
    /// New modules of the gateway with this id go into this bucket; without one, into the database.
    pub fn new(bucket: Option<Bucket>, gateway: &str) -> Self {
        Self { bucket: bucket.map(Arc::new), gateway: gateway.to_owned() }
    }

    /// The bucket.
    pub fn bucket(&self) -> Option<&Arc<Bucket>> {
        self.bucket.as_ref()
    }

    /// Whether every module can be found, and new ones kept. A bucket that is merely away is one that comes back, if modules are in it
    /// already; else what was said of it is most likely wrong.
    pub async fn check(&self, store: &Store) -> Result<(), HomesError> {
        let places = store.module_places().await?;
        let configured = self.bucket.as_ref().map(|bucket| bucket.place());
        let elsewhere = places.iter().find(|(place, _)| Some(place) != configured.as_ref());
        if let Some((place, modules)) = elsewhere.cloned() {
            return Err(HomesError::Elsewhere { place, modules });
        }
        let Some(bucket) = &self.bucket else { return Ok(()) };
        match bucket.check().await {
            Err(error @ BucketError::Unreachable { .. }) if !places.is_empty() => {
                tracing::warn!(%error, "the gateway starts all the same: what is enforced needs no bucket");
                Ok(())
            }
            checked => Ok(checked?),
        }
    }

    /// Where the bytes of a new module are from now on: put there, unless they belong in the database, where its row will hold them. They stay
    /// there only if a module comes to name them, or else [`Self::give_up`] is told.
    pub async fn keep<'a>(&self, store: &Store, digest: &str, bytes: &'a Bytes) -> ApiResult<Home<&'a [u8]>> {
        let Some(bucket) = &self.bucket else { return Ok(Home::Database(bytes)) };
        // They may be kept already, under another name.
        match store.module_bytes(digest).await?.map(|kept| kept.home) {
            Some(Home::Bucket(spot)) => return Ok(Home::Bucket(spot)),
            Some(Home::Database(_)) => return Ok(Home::Database(bytes)),
            None => {}
        }
        Ok(Home::Bucket(self.put(store, bucket, digest, bytes).await?))
    }

    /// Puts bytes into the bucket under a name of their own.
    pub async fn put(&self, store: &Store, bucket: &Bucket, digest: &str, bytes: &Bytes) -> ApiResult<Spot> {
        let spot = Spot::new(bucket.place(), digest);
        store.will_put(&spot, &self.gateway).await?;
        match bucket.put(&spot.object, bytes.clone()).await {
            Ok(()) => Ok(spot),
            Err(error) => {
                self.give_up(store, &Home::Bucket(spot)).await;
                Err(error.into())
            }
        }
    }

    /// No module will name what was put there, unless one does already. What this can't write down is found later by its age.
    pub async fn give_up(&self, store: &Store, home: &Home<&[u8]>) {
        if let Home::Bucket(spot) = home
            && let Err(error) = store.give_up_put(spot).await
        {
            tracing::warn!(%error, object = spot.object, "an object that no module names stays for now");
        }
    }

    /// What was put there was given up before a module named it: it goes, also where it arrived after it was removed.
    pub async fn too_late(&self, store: &Store, home: &Home<&[u8]>) -> ApiResult<()> {
        match home {
            Home::Bucket(spot) => Ok(store.put_too_late(spot, &self.gateway).await?),
            Home::Database(_) => Ok(()),
        }
    }

    /// Puts a known module's bytes into its bucket once more: they may have gone, or been changed there.
    pub async fn renew(&self, store: &Store, digest: &str, bytes: &Bytes) -> ApiResult<()> {
        match (&self.bucket, store.module_bytes(digest).await?.map(|kept| kept.home)) {
            (Some(bucket), Some(Home::Bucket(spot))) if spot.place == bucket.place() => {
                Ok(bucket.put(&spot.object, bytes.clone()).await?)
            }
            _ => Ok(()),
        }
    }

    /// A module's bytes, which have this digest.
    pub async fn read(&self, store: &Store, wanted: &str) -> ApiResult<Bytes> {
        let kept = store.module_bytes(wanted).await?.ok_or_else(|| ApiError::not_found("module", wanted))?;
        match (kept.home, &self.bucket) {
            (Home::Database(bytes), _) => match digest(&bytes) {
                found if found == wanted => Ok(bytes.into()),
                found => {
                    Err(damaged(format!("the module {wanted} was changed in the database: its digest is {found}"))
                        .hint("restore a backup, and ask `openshell audit verify` since when"))
                }
            },
            (Home::Bucket(spot), Some(bucket)) if spot.place == bucket.place() => {
                Ok(bucket.get(&spot.object, wanted, kept.size).await?)
            }
            (Home::Bucket(Spot { place, .. }), _) => Err(refuse(
                503,
                "module_elsewhere",
                format!("the module {wanted} is in {place}, which this gateway is not told to use"),
            )
            .hint("start every gateway of the database with the same --modules")),
        }
    }
}

/// What a call is told whose bytes were given up.
pub(super) fn late() -> ApiError {
    let told = "the module's bytes took too long to reach the bucket, and were given up";
    refuse(503, "put_given_up", told.to_owned()).hint("nothing was stored: push it once more")
}

fn damaged(detail: String) -> ApiError {
    tracing::error!(detail, "a module was not used");
    refuse(500, "module_damaged", detail)
}

impl From<BucketError> for ApiError {
    fn from(error: BucketError) -> Self {
        let told = error.to_string();
        let answer = match &error {
            BucketError::Unreachable { .. } => {
                tracing::warn!(%error, "a call was put off");
                let mut put_off = refuse(503, "bucket_unavailable", told);
                put_off.0.retry_after_s = Some(RETRY_AFTER_S);
                put_off
            }
            BucketError::Damaged { .. } | BucketError::Length { .. } => damaged(told),
            BucketError::Missing { .. } => {
                tracing::error!(%error, "a module was not found");
                refuse(500, "module_missing", told)
            }
            _ => {
                tracing::error!(%error, "a call failed");
                refuse(503, "bucket_refused", told)
            }
        };
        answer.hint(error.hint())
    }
}
