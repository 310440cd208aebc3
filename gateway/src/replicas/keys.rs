//! Keys that turn: put in the place of those that are, here and in every other gateway of the database.

use std::sync::Arc;

use super::News;
use crate::audit::Change;
use crate::error::ApiResult;
use crate::gateway::Gateway;
use crate::secrets::{KeyringError, Turned};
use crate::signing::rotation;

impl Gateway {
    /// Puts keys in the place of those that are, durably, and tells the trail of the change, if there is one to tell. The caller holds the
    /// gateway-wide lock alone.
    pub async fn put_keys(&self, turned: Turned, change: Option<&Change>) -> ApiResult<()> {
        let Some(replicas) = &self.replicas else {
            match turned {
                Turned::Authority(keys) => self.authority.take(&keys).map_err(KeyringError::from)?,
                Turned::Signing(keys) => self.signing.take(*keys).map_err(KeyringError::from)?,
            }
            return match change {
                Some(change) => Ok(self.store.tell(change).await?),
                None => Ok(()),
            };
        };
        replicas.keyring.put(&self.store, turned, change).await?;
        self.changed.keys();
        Ok(())
    }
}

/// Tells supervisors of keys that were taken over, trusts other gateways by them, and brings what they have signed.
pub(super) async fn follow(gateway: &Arc<Gateway>) {
    let Some(replicas) = &gateway.replicas else { return };
    let (mut number, mut news) = (replicas.keyring.follow(), gateway.changed.follow_keys());
    // Some may have been taken over since this gateway opened its own.
    number.mark_changed();
    loop {
        tokio::select! {
            Ok(()) = number.changed() => {
                number.borrow_and_update();
                if let Err(error) = replicas.trust(&gateway.authority.trusted().pem) {
                    tracing::error!(%error, "the other gateways are trusted by the CA before");
                }
                crate::authority::tell_all(gateway).await;
                rotation::tell_all(gateway).await;
                if gateway.leads() {
                    rotation::go_on(gateway);
                }
            }
            Ok(()) = news.changed() => {
                news.borrow_and_update();
                match gateway.store.adopt().await {
                    Ok(()) => rotation::bring(gateway),
                    Err(error) => tracing::error!(%error, "keys that another gateway has turned can't be taken over"),
                }
            }
        }
    }
}

impl crate::gateway::Changed {
    /// Keys turned here, or everything was signed anew: the other gateways are to hear of it.
    pub fn keys(&self) {
        self.untold.add(News::Keys);
    }
}
