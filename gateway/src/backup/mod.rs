//! Backups: everything that makes a gateway this one, in one file.
//!
//! A backup is made beside a gateway that runs, from one consistent snapshot of its database, with the keys that go with it. It holds
//! the gateway's credentials, so it is encrypted with a passphrase unless somebody says otherwise. A restore checks all of it before it
//! changes anything, and then puts everything in place or nothing ([`swap`]).
//!
//! Bytes of modules that are in a bucket are not in it: the bucket keeps them, and nothing is ever removed there. Both ends say so.

mod create;
mod format;
mod restore;
pub(crate) mod swap;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::Serialize;

pub use create::{Created, create};
pub use restore::{Restore, Restored, restore};

use crate::gateway::ID_FILE;
use crate::identity::tokens::ADMIN_TOKEN_FILE;
use crate::secrets::{KeyFileError, SECRETS_KEY_FILE, SIGNING_KEY_FILE};
use crate::server::PORT_FILE;
use crate::signing;
use crate::state_dir::StateDirError;
use crate::store::{DATABASE_FILE, HEAD_FILE, StoreError};
use crate::tls;

/// Files without which a gateway is another one.
const REQUIRED: [&str; 6] =
    [DATABASE_FILE, SIGNING_KEY_FILE, SECRETS_KEY_FILE, tls::CA_KEY_FILE, tls::CA_FILE, ADMIN_TOKEN_FILE];
/// Files that are there if there was need of them. How far the signing key's turn is is read before the head of the trail: where it says that the
/// head is this key's, it is.
const OPTIONAL: [&str; 5] = [signing::TURN_FILE, HEAD_FILE, ID_FILE, PORT_FILE, tls::TURN_FILE];

/// Modules that a backup knows of and does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Elsewhere {
    /// Where they are: `s3://bucket/prefix`.
    pub place: String,
    /// How many.
    pub modules: u64,
}

impl From<(String, u64)> for Elsewhere {
    fn from((place, modules): (String, u64)) -> Self {
        Self { place, modules }
    }
}

/// Why a backup was not made or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file of the state directory.
    #[error(transparent)]
    State(#[from] StateDirError),
    /// Another file.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The passphrase.
    #[error(transparent)]
    Passphrase(#[from] KeyFileError),
    /// There is no gateway there.
    #[error("{path} is not there: this is no gateway's state directory")]
    NoState {
        /// What is missing.
        path: PathBuf,
    },
    /// Its database is no file.
    #[error("the gateway keeps everything in the database {database}, and not in its state directory")]
    InServer {
        /// Where it is.
        database: String,
    },
    /// A restore has begun there.
    #[error("a restore of {path} has not ended")]
    Unfinished {
        /// The state directory.
        path: PathBuf,
    },
    /// The keys changed while the snapshot was taken, again and again.
    #[error("the gateway's keys change all the time")]
    Restless,
    /// It is no backup, or is damaged.
    #[error("the backup can't be read: {0}")]
    Damaged(String),
    /// It ends early.
    #[error("the backup is not whole: it ends in the middle")]
    Truncated,
    /// It is encrypted, and no passphrase was given.
    #[error("the backup is encrypted, and no passphrase was given")]
    Encrypted,
    /// Another passphrase, or somebody changed it.
    #[error("the passphrase does not open the backup, or the backup was changed")]
    WrongPassphrase,
    /// Of a later version.
    #[error("the backup was made by a newer version ({found}) than this one")]
    Newer {
        /// Which.
        found: String,
    },
    /// The state directory is in use by a gateway that is another one.
    #[error("{path} holds a gateway's state already")]
    NotEmpty {
        /// The state directory.
        path: PathBuf,
    },
}

impl BackupError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::State(StateDirError::Busy { .. }) => "stop the gateway first: `openshell gateway stop`",
            Self::NoState { .. } => "`openshell gateway status` shows where a gateway is",
            Self::InServer { .. } => {
                "back that up with pg_dump, and the keys and the bucket beside it: docs/operations.md says how, under \"Back up PostgreSQL\""
            }
            Self::Unfinished { .. } => "start the gateway: it ends the restore first",
            Self::Restless => "try again when `openshell gateway rotate-keys` has ended",
            Self::Damaged(_) | Self::Truncated => "nothing was changed; take another backup",
            Self::Encrypted => "give it: --passphrase-file FILE",
            Self::WrongPassphrase => "nothing was changed; give the passphrase that the backup was made with",
            Self::Newer { .. } => "nothing was changed; restore it with that version",
            Self::NotEmpty { .. } => {
                "nothing was changed; to put the backup in its place: --force (what is there is kept aside)"
            }
            Self::State(_) | Self::Io { .. } | Self::Store(_) | Self::Passphrase(_) => return None,
        })
    }

    fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
