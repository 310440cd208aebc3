//! Who vouches for modules: signatures of publishers, and which publishers this gateway trusts.

use openshell_api::Name;
use openshell_api::module::{Binding, Module};
use openshell_api::signature::{ModuleSignature, SignatureError};

use super::Modules;
use crate::error::{ApiError, ApiResult, refuse};
use crate::store::Store;

impl From<SignatureError> for ApiError {
    fn from(error: SignatureError) -> Self {
        refuse(422, "bad_signature", error.to_string())
            .hint("sign exactly these bytes, under this name and version: `openshell policy sign`")
    }
}

impl Modules {
    /// A signature that holds, and is of a publisher who is trusted if any is. Where publishers are trusted, refuses a module
    /// that none of them vouches for, now or before.
    pub(super) async fn checked(
        &self,
        store: &Store,
        name: &str,
        version: &str,
        digest: &str,
        signature: Option<ModuleSignature>,
    ) -> ApiResult<Option<ModuleSignature>> {
        let publishers = store.publishers().await?;
        if let Some(signature) = &signature {
            signature.verify(name, version, digest)?;
            if !publishers.is_empty() && publishers.iter().all(|publisher| publisher.key != signature.key) {
                let detail = format!("{name}@{version} is signed by {}, which is not trusted here", signature.key);
                return Err(refuse(422, "untrusted_publisher", detail)
                    .hint("have a trusted publisher sign it, or trust this one: `openshell gateway trust add`"));
            }
            return Ok(Some(signature.clone()));
        }
        let known = store.signers(digest, name, version).await?;
        if publishers.is_empty() || is_builtin(digest) || publishers.iter().any(|one| known.contains(&one.key)) {
            return Ok(None);
        }
        Err(unsigned(name, version))
    }

    /// Keeps a signature of a stored module; answers the module.
    pub(super) async fn signed(
        &self,
        store: &Store,
        digest: &str,
        signature: Option<ModuleSignature>,
    ) -> ApiResult<Module> {
        if let Some(signature) = &signature {
            store.put_signature(signature).await?;
        }
        store.module(digest).await?.ok_or_else(|| ApiError::not_found("module", digest))
    }

    /// The trusted publisher who vouches for a module. Where publishers are trusted, refuses one that none of them vouches
    /// for, unless it comes with this gateway.
    pub async fn vouched(&self, store: &Store, module: &Module) -> ApiResult<Option<Name>> {
        let publishers = store.publishers().await?;
        let signers = store.signers(&module.digest, module.name.as_str(), &module.version).await?;
        let all = publishers.is_empty();
        match publishers.into_iter().find(|publisher| signers.contains(&publisher.key)) {
            Some(publisher) => Ok(Some(publisher.name)),
            None if all || is_builtin(&module.digest) => Ok(None),
            None => Err(unsigned(module.name.as_str(), &module.version)),
        }
    }

    /// The same, of a module that was bound before.
    pub async fn still_vouched(&self, store: &Store, binding: &Binding) -> ApiResult<()> {
        let module = store.module(&binding.module).await?;
        let mut module = module.ok_or_else(|| ApiError::not_found("module", &binding.module))?;
        module.version.clone_from(&binding.version);
        self.vouched(store, &module).await.map(drop)
    }
}

fn is_builtin(digest: &str) -> bool {
    openshell_bundle::BUILTINS.iter().any(|builtin| builtin.digest() == digest)
}

fn unsigned(name: &str, version: &str) -> ApiError {
    refuse(422, "unsigned_module", format!("no trusted publisher signed {name}@{version}"))
        .hint("push it with --sign-key, or with the signature that `openshell policy sign` writes")
}
