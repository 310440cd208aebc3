//! All modules change their home, while no gateway runs on the state directory: into a bucket, or back into the database.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::homes::{self, Homes, HomesError};
use super::sweep;
use crate::audit::Change;
use crate::bucket::{Bucket, BucketOptions};
use crate::error::ApiError;
use crate::gateway;
use crate::secrets::{KeyringError, SIGNING_KEY_FILE};
use crate::signing::{Signing, SigningError};
use crate::state_dir::{StateDir, StateDirError};
use crate::store::{Database, DatabaseUrl, Home, Store, StoreError};

/// What moves, and where to.
#[derive(Debug, Clone)]
pub struct Move {
    /// The gateway's directory.
    pub state_dir: PathBuf,
    /// Its database, if that is not a file in its directory.
    pub database: Option<DatabaseUrl>,
    /// The bucket.
    pub bucket: BucketOptions,
    /// Into the bucket; else out of it.
    pub into_bucket: bool,
    /// PEM file of further CAs that it trusts.
    pub extra_ca: Option<PathBuf>,
}

/// What was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// How many modules.
    pub modules: u64,
    /// The bucket.
    pub place: String,
}

/// Why not all was moved. What was moved before stays where it is now.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// There is no gateway there.
    #[error("{path} is not there: this is no gateway's state directory")]
    NoState {
        /// What is missing.
        path: PathBuf,
    },
    /// The directory.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key that signs the audit trail.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// It belongs to another gateway.
    #[error(transparent)]
    NotOurs(#[from] KeyringError),
    /// A file.
    #[error("can't read {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The bucket, or modules in another one.
    #[error(transparent)]
    Homes(#[from] HomesError),
    /// A module that is not what it should be, or can't be put where it should go.
    #[error("after {moved} modules were moved: {error}")]
    Module {
        /// How many were.
        moved: u64,
        /// What was wrong with the next one.
        error: ApiError,
    },
}

impl MoveError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::NoState { .. } => Some("`openshell gateway status` shows where a gateway is"),
            Self::StateDir(StateDirError::Busy { .. }) => Some("stop the gateway first: `openshell gateway stop`"),
            Self::Store(error) => error.hint(),
            Self::NotOurs(error) => error.hint(),
            Self::Homes(error) => error.hint(),
            Self::Module { error, .. } => error.0.hint.as_deref(),
            Self::StateDir(_) | Self::Signing(_) | Self::Io { .. } => None,
        }
    }
}

/// Moves all modules. Each is read, checked and written before the database says that it moved; interrupted, it goes on where it was when
/// it is called again. What a module had in a bucket stays there, too: a backup of the database may speak of it.
pub async fn move_all(asked: &Move) -> Result<Moved, MoveError> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let key = asked.state_dir.join(SIGNING_KEY_FILE);
    if !key.is_file() {
        return Err(MoveError::NoState { path: key });
    }
    let extra_ca = match &asked.extra_ca {
        None => None,
        Some(path) => {
            let read = std::fs::read_to_string(path);
            Some(read.map_err(|source| MoveError::Io { path: path.clone(), source })?)
        }
    };
    let bucket = Bucket::open(&asked.bucket, extra_ca.as_deref()).map_err(HomesError::from)?;
    // Keeps every gateway of the directory out until this ends.
    let dir = StateDir::open(&asked.state_dir)?;
    let database = Database::open(dir.root(), asked.database.as_ref()).await?;
    let signing = Arc::new(Signing::open(&dir)?);
    if database.is_shared() && !database.is_ours(&signing).await? {
        return Err(KeyringError::NotOurs.into());
    }
    let store = Store::over(database, dir.root(), signing, None).await?;
    let id = gateway::id(&dir)?;
    store.give_up_puts_of(&id).await?;
    let homes = Homes::new(Some(bucket), &id);
    let moved = move_within(&store, homes, asked.into_bucket).await;
    store.close().await;
    moved
}

async fn move_within(store: &Store, homes: Homes, into_bucket: bool) -> Result<Moved, MoveError> {
    homes.check(store).await?;
    let place = homes.bucket().map(|bucket| bucket.place()).unwrap_or_default();
    let mut modules = 0;
    for wanted in store.modules_kept(into_bucket).await? {
        let moved = async {
            let bytes = homes.read(store, &wanted).await?;
            let home = match homes.bucket().filter(|_| into_bucket) {
                None => Home::Database(&*bytes),
                Some(bucket) => {
                    let spot = homes.put(store, bucket, &wanted, &bytes).await?;
                    // What the database lets go is there, and readable.
                    bucket.get(&spot.object, &wanted, bytes.len() as u64).await?;
                    Home::Bucket(spot)
                }
            };
            match store.move_module(&wanted, &home).await? {
                true => Ok(()),
                false => {
                    homes.too_late(store, &home).await?;
                    Err(homes::late())
                }
            }
        };
        moved.await.map_err(|error| MoveError::Module { moved: modules, error })?;
        modules += 1;
    }
    // The gateway may not be told of the bucket any more.
    if let Some(bucket) = homes.bucket()
        && let Err(error) = sweep::sweep(bucket, store).await
    {
        tracing::warn!(%error, "objects that no module names stay in the bucket");
    }
    let detail = json!({ "modules": modules, "to": if into_bucket { place.as_str() } else { "database" } });
    store.tell(&Change::new(None, "modules.move", place.clone()).detail(detail)).await?;
    Ok(Moved { modules, place })
}
