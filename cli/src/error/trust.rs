//! What can go wrong with keys, signatures and consent.

use std::path::PathBuf;

use openshell_api::signature::SignatureError;

/// Why something is not vouched for, or not agreed to.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A key's file.
    #[error("{}: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: SignatureError,
    },
    /// A private key that others can read is none.
    #[error("the private key {} can be read by others (mode {mode:04o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file that a key would overwrite.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A signature that came with a component.
    #[error("the signature in {origin} is refused: {reason}")]
    Signature {
        /// Where it came from.
        origin: String,
        /// Why.
        reason: SignatureError,
    },
    /// Nobody is there to ask.
    #[error("approving proposal {id} needs a yes, and standard input is no terminal")]
    Unconfirmed {
        /// The proposal.
        id: String,
        /// The generation it was shown for.
        generation: u64,
    },
    /// The answer was no.
    #[error("not approved: nothing was changed")]
    Declined,
    /// There is nothing to decide any more.
    #[error("proposal {id} is {state} already")]
    Decided {
        /// The proposal.
        id: String,
        /// What became of it.
        state: String,
    },
}

impl TrustError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Key { .. } => "`openshell policy keygen` writes a pair: the private key, and FILE.pub".into(),
            Self::Exposed { path, .. } => {
                format!("make a new one if others may have read it; else: chmod 600 {}", path.display())
            }
            Self::Exists { .. } => "choose another file: a key that is in use must not be lost".into(),
            Self::Signature { .. } => "sign exactly these bytes again with `openshell policy sign`".into(),
            Self::Unconfirmed { id, generation } => {
                format!("look at it, then: openshell proposal approve {id} --generation {generation}")
            }
            Self::Declined => "refuse it for good with `openshell proposal reject`".into(),
            Self::Decided { .. } => return None,
        })
    }
}
