//! Removes from a bucket what no module came to name: of gateways that died, of calls that failed.
//!
//! Only what a gateway of this database has written down before it put it there is ever removed; see `store/puts` for why no module loses its
//! bytes, however many gateways push and sweep.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::bucket::{Bucket, BucketError};
use crate::store::{Store, StoreError};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);
/// After one that failed.
const AGAIN: Duration = Duration::from_secs(30);

/// Why something stays for now.
#[derive(Debug, thiserror::Error)]
pub(super) enum SweepError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

/// Looks at once, and from time to time until `stopping`. What fails is tried again; it hinders nothing else.
pub async fn run(bucket: Arc<Bucket>, store: Store, stopping: CancellationToken) {
    let mut told = None;
    loop {
        let swept = tokio::select! {
            () = stopping.cancelled() => return,
            swept = sweep(&bucket, &store) => swept,
        };
        let failed = swept.err().map(|error| match &error {
            SweepError::Bucket(at) => format!("{error}; {}", at.hint()),
            SweepError::Store(_) => error.to_string(),
        });
        // Once, as long as it is the same.
        if let Some(reason) = failed.as_ref().filter(|reason| Some(*reason) != told.as_ref()) {
            tracing::warn!(place = bucket.place(), reason, "objects that no module names stay in the bucket for now");
        }
        let wait = if failed.is_some() { AGAIN } else { EVERY };
        told = failed;
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Looks once.
pub(super) async fn sweep(bucket: &Bucket, store: &Store) -> Result<(), SweepError> {
    let place = bucket.place();
    store.give_up_old_puts(&place).await?;
    for object in store.puts_to_undo(&place).await? {
        bucket.remove(&object).await?;
        store.undone_put(&place, &object).await?;
        tracing::info!(place, object, "what no module names was removed from the bucket");
    }
    Ok(())
}
