//! Artifacts under another key than the one that signed them.

use openshell_api::module::Binding;
use openshell_api::signing::GatewayKey;
use openshell_policy_host::{Artifact, SigningKey};

use super::{Modules, Parts};
use crate::error::ApiResult;
use crate::signing::Signing;
use crate::store::Store;

impl Modules {
    /// Digest of a binding's artifact under the key that signs now: the artifact's own, or that of the same code with another signature.
    /// What neither this key nor the one before it has signed is compiled anew.
    pub async fn under_present_key(&self, store: &Store, signing: &Signing, binding: &Binding) -> ApiResult<String> {
        let (key, before) = (signing.key(), signing.previous());
        let asked = (binding.artifact.clone(), GatewayKey::of(&key));
        if let Some(digest) = self.under_key.get(&asked).await {
            return Ok(digest);
        }
        let digest = match self.sign_anew(store, &key, before, binding).await? {
            Some(digest) => digest,
            None => self.refresh(store, &key, binding).await?.artifact,
        };
        self.under_key.insert(asked, digest.clone()).await;
        Ok(digest)
    }

    /// `None`: there is nothing that may be signed.
    async fn sign_anew(
        &self,
        store: &Store,
        key: &SigningKey,
        before: Option<GatewayKey>,
        binding: &Binding,
    ) -> ApiResult<Option<String>> {
        let Some(bytes) = self.artifacts.find(store, &binding.artifact).await? else { return Ok(None) };
        let (digest, to) = (binding.artifact.clone(), key.clone());
        let signed = tokio::task::spawn_blocking(move || {
            if Artifact::open(&bytes, &digest, &to.verifying_key()).is_ok() {
                return Some((digest, None));
            }
            let anew = Artifact::sign_anew(&bytes, &digest, before?.verifying(), &to).ok();
            anew.map(|(manifest, bytes)| (openshell_policy_host::digest(&bytes), Some((manifest, bytes))))
        });
        let Some((digest, made)) = signed.await? else { return Ok(None) };
        let Some((manifest, bytes)) = made else { return Ok(Some(digest)) };
        let parts = Parts {
            module: &manifest.module,
            name: &manifest.name,
            version: &manifest.version,
            settings: &binding.settings,
            compatibility: &manifest.compatibility,
        };
        let cache_key = parts.under(key)?;
        store.put_artifact(&digest, &cache_key, &bytes).await?;
        // Unless the same was compiled under this key already.
        Ok(Some(store.artifact_digest(&cache_key).await?.unwrap_or(digest)))
    }
}
