//! Artifacts on their way to supervisors: whole, or as what differs from one that is there.

use bytes::Bytes;
use moka::future::Cache;
use openshell_api::{compress, patch};

use crate::error::{ApiError, ApiResult};
use crate::store::Store;

/// Artifacts kept in memory, in bytes.
const WHOLE_BYTES: u64 = 64 * 1024 * 1024;
/// Patches kept in memory, in bytes.
const PATCH_BYTES: u64 = 16 * 1024 * 1024;
/// Compressed artifacts kept in memory, in bytes.
const COMPRESSED_BYTES: u64 = 16 * 1024 * 1024;
/// Of so many that a supervisor has, at most, a patch is tried.
const MAX_BASES: usize = 8;

/// What was sent last. A push to a thousand sandboxes reads, and compares, once.
pub(super) struct Artifacts {
    whole: Cache<String, Bytes>,
    /// By base and target; `None`: they have too little in common.
    patches: Cache<(String, String), Option<Bytes>>,
    /// `None`: that would save little.
    compressed: Cache<String, Option<Bytes>>,
}

/// What a supervisor is sent.
pub struct Transfer {
    /// The bytes are a [patch] of this one, which it has.
    pub base: Option<String>,
    /// The bytes are [compressed](compress).
    pub zstd: bool,
    /// What goes over the link.
    pub bytes: Bytes,
}

impl Artifacts {
    pub fn new() -> Self {
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let held = move |bytes: &Option<Bytes>| length(256 + bytes.as_ref().map_or(0, Bytes::len));
        Self {
            whole: Cache::builder()
                .weigher(move |_, bytes: &Bytes| length(bytes.len()))
                .max_capacity(WHOLE_BYTES)
                .build(),
            patches: Cache::builder().weigher(move |_, patch| held(patch)).max_capacity(PATCH_BYTES).build(),
            compressed: Cache::builder().weigher(move |_, frame| held(frame)).max_capacity(COMPRESSED_BYTES).build(),
        }
    }

    /// One that was just made.
    pub async fn keep(&self, digest: &str, bytes: Bytes) {
        self.whole.insert(digest.to_owned(), bytes).await;
    }

    /// An artifact's bytes.
    pub async fn whole(&self, store: &Store, digest: &str) -> ApiResult<Bytes> {
        let read = async {
            let bytes = store.artifact_bytes(digest).await.map_err(ApiError::from)?;
            bytes.map(Bytes::from).ok_or_else(|| ApiError::not_found("artifact", digest))
        };
        self.whole.try_get_with_by_ref(digest, read).await.map_err(|error| (*error).clone())
    }

    /// An artifact's bytes; `None`: there is no such artifact.
    pub async fn find(&self, store: &Store, digest: &str) -> ApiResult<Option<Bytes>> {
        match self.whole(store, digest).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.0.status == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first patch that is worth it, and its base.
    async fn patch(&self, store: &Store, digest: &str, have: &[String]) -> ApiResult<Option<(String, Bytes)>> {
        for base in have.iter().take(MAX_BASES) {
            let key = (base.clone(), digest.to_owned());
            let made = async {
                // One that this gateway does not know (any more) is no base.
                let Ok(from) = self.whole(store, base).await else { return Ok::<_, ApiError>(None) };
                let to = self.whole(store, digest).await?;
                let compared = tokio::task::spawn_blocking(move || patch::between(&from, &to));
                Ok(compared.await?.map(Bytes::from))
            };
            let patch = self.patches.try_get_with(key, made).await.map_err(|error| (*error).clone())?;
            if let Some(patch) = patch {
                return Ok(Some((base.clone(), patch)));
            }
        }
        Ok(None)
    }

    async fn compressed(&self, store: &Store, digest: &str) -> ApiResult<Option<Bytes>> {
        let made = async {
            let whole = self.whole(store, digest).await?;
            let compressed = tokio::task::spawn_blocking(move || compress::compress(&whole));
            Ok::<_, ApiError>(compressed.await?.map(Bytes::from))
        };
        self.compressed.try_get_with_by_ref(digest, made).await.map_err(|error| (*error).clone())
    }

    /// What to send to a supervisor that has these, and takes what is compressed or not.
    pub async fn transfer(&self, store: &Store, digest: &str, have: &[String], zstd: bool) -> ApiResult<Transfer> {
        if let Some((base, bytes)) = self.patch(store, digest, have).await? {
            return Ok(Transfer { base: Some(base), zstd: false, bytes });
        }
        let compressed = if zstd { self.compressed(store, digest).await? } else { None };
        Ok(match compressed {
            Some(bytes) => Transfer { base: None, zstd: true, bytes },
            None => Transfer { base: None, zstd: false, bytes: self.whole(store, digest).await? },
        })
    }
}
