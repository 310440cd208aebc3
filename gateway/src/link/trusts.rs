//! Whose signatures a supervisor takes.

use std::time::Duration;

use openshell_api::signing::GatewayKey;

use super::attempt::AttemptError;
use super::{Link, LinkClosed};

/// Longest wait for a supervisor to say whom it trusts, after its link has opened or it was told of others.
const SAYS_WITHIN: Duration = Duration::from_secs(5);

/// Which signing keys a supervisor trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trusts {
    /// It has said nothing yet.
    #[default]
    Unheard,
    /// The key of its start file; it can't be told of others.
    Unsaid,
    /// These, as it says.
    These(Vec<GatewayKey>),
}

impl Trusts {
    /// Whether it says that it trusts this key.
    pub fn has(&self, key: &GatewayKey) -> bool {
        matches!(self, Self::These(keys) if keys.contains(key))
    }
}

impl Link {
    /// Which signing keys the supervisor trusts.
    pub fn signing_keys(&self) -> Trusts {
        self.signing_keys.borrow().clone()
    }

    pub(super) fn set_signing_keys(&self, trusts: Trusts) {
        self.signing_keys.send_replace(trusts);
    }

    /// Waits until the supervisor says that it trusts a key, or can't say: then it will see. Refuses where it says that it does not.
    pub(super) async fn until_trusted(&self, key: &GatewayKey) -> Result<(), AttemptError> {
        let mut trusts = self.signing_keys.subscribe();
        let known = trusts.wait_for(|trusts| *trusts == Trusts::Unsaid || trusts.has(key));
        tokio::select! {
            biased;
            known = tokio::time::timeout(SAYS_WITHIN, known) => match known {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) => Err(LinkClosed.into()),
                Err(_) => Err(AttemptError::Untrusted),
            },
            () = self.closed.cancelled() => Err(LinkClosed.into()),
        }
    }
}
