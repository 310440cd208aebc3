//! How far a turn of the CA is, in files: what is written first is all that is needed to end it after a crash.

use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use super::{CA_FILE, CA_KEY_FILE, TlsError};
use crate::state_dir::{StateDirError, read_json, write_json, write_private};

/// How far it is; absent: the CA never turned.
pub const TURN_FILE: &str = "ca-turn.json";
/// A turn that is being written down.
const NEXT_FILE: &str = "ca-next.json";

/// How far a turn is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Turn {
    /// Seconds since 1970 when it was last changed; 0: never.
    pub epoch: u64,
    /// The same when the CA that is was made.
    pub since: u64,
    /// The CA before this one, while it is trusted.
    pub previous: Option<Previous>,
}

/// A CA that was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Previous {
    /// Its certificate.
    pub pem: String,
    /// Its certificate for the CA that is.
    pub cross: String,
}

/// The CA with its private key, and how far its turn is. Wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaKeys {
    pub(super) key: String,
    pub(super) pem: String,
    pub(super) turn: Turn,
}

impl Drop for CaKeys {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl CaKeys {
    /// Of a state directory in which no turn is being written down.
    pub(super) fn read(dir: &Path) -> Result<Self, TlsError> {
        let (key, pem) = (super::text(&dir.join(CA_KEY_FILE))?, super::text(&dir.join(CA_FILE))?);
        Ok(Self { key, pem, turn: Turn::read(dir)? })
    }

    /// Puts them there. From the first file on it is done, also if this process ends in between.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), TlsError> {
        write_json(&dir.join(NEXT_FILE), self)?;
        settle(dir)
    }

    /// Its files that are nobody else's, and what is in them.
    pub(crate) fn files(&self) -> [(&'static str, &str); 2] {
        [(CA_KEY_FILE, &self.key), (CA_FILE, &self.pem)]
    }

    /// `sha256:<hex>` of its certificate.
    pub fn fingerprint(&self) -> String {
        super::of_pem(&self.pem)
    }
}

impl Turn {
    /// Of a state directory.
    pub fn read(dir: &Path) -> Result<Self, TlsError> {
        Ok(read_json(&dir.join(TURN_FILE))?.unwrap_or_default())
    }

    /// Puts it there.
    pub fn write(&self, dir: &Path) -> Result<(), TlsError> {
        Ok(write_json(&dir.join(TURN_FILE), self)?)
    }

    /// After a turn from this CA, which vouches for the next one.
    pub fn to(&self, pem: String, cross: String) -> Self {
        let epoch = self.later();
        Self { epoch, since: epoch, previous: Some(Previous { pem, cross }) }
    }

    /// Without the CA before; `None`: there is none.
    pub fn finished(&self) -> Option<Self> {
        self.previous.as_ref().map(|_| Self { epoch: self.later(), since: self.since, previous: None })
    }

    /// Now, and never what was, whatever the clock says. Also a gateway that was restored goes on with a greater number.
    fn later(&self) -> u64 {
        u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default().max(self.epoch + 1)
    }
}

/// Ends a turn that was written down.
pub(crate) fn settle(dir: &Path) -> Result<(), TlsError> {
    let path = dir.join(NEXT_FILE);
    let Some(next) = read_json::<CaKeys>(&path)? else { return Ok(()) };
    next.turn.write(dir)?;
    write_private(&dir.join(CA_FILE), next.pem.as_bytes())?;
    write_private(&dir.join(CA_KEY_FILE), next.key.as_bytes())?;
    std::fs::remove_file(&path).map_err(|source| StateDirError::Io { path, source })?;
    Ok(())
}
