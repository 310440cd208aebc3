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
    /// The audit trail does not hold.
    #[error("the audit trail is broken: {0}")]
    Audit(openshell_api::audit::Broken),
    /// The gateway itself found that its trail had been tampered with.
    #[error("the audit trail was tampered with before {at}: {reason} (entry {seq})")]
    AuditNoticed {
        /// Where it says so.
        seq: u64,
        /// When it found out.
        at: jiff::Timestamp,
        /// What.
        reason: String,
    },
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
            Self::Audit(openshell_api::audit::Broken::Head) => {
                "the trail comes from another gateway, or somebody made a new head".into()
            }
            Self::Audit(_) => {
                "what comes before that entry holds; compare the rest with an earlier `openshell audit export`".into()
            }
            Self::AuditNoticed { .. } => {
                "what comes after that entry holds; compare what comes before with an earlier `openshell audit export`"
                    .into()
            }
            Self::Declined => "refuse it for good with `openshell proposal reject`".into(),
            Self::Decided { .. } => return None,
        })
    }
}
