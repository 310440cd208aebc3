//! What of a runtime is secret: the key that the gateway shows its engine, and the password of its registry. Both are in one envelope.

use openshell_api::Name;
use openshell_api::link::Sensitive;
use openshell_api::runtime::{EngineTls, RegistryLogin};
use serde::{Deserialize, Serialize};

use crate::error::{ApiError, ApiResult};
use crate::gateway::Gateway;
use crate::store::StoredRuntime;

/// Whose secret they are, where they are sealed. No provider has such a name.
pub(crate) fn sealed_as(name: &Name) -> String {
    format!("runtime {name}")
}

/// In the clear.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Keys {
    /// PEM of the key that is shown to the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Sensitive>,
    /// The password of the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<Sensitive>,
}

impl Keys {
    /// What was given, else what was kept.
    pub fn of(tls: Option<&EngineTls>, login: Option<&RegistryLogin>, kept: Self) -> Self {
        Self {
            tls: tls.map(|tls| tls.key.clone()).or(kept.tls),
            registry: login.map(|login| login.password.clone()).or(kept.registry),
        }
    }

    /// Opens what is stored.
    pub fn open(gateway: &Gateway, name: &Name, sealed: Option<&[u8]>) -> ApiResult<Self> {
        let Some(sealed) = sealed else { return Ok(Self::default()) };
        let text = gateway.secrets.open_sealed(&sealed_as(name), sealed)?;
        Self::read(&text).map_err(ApiError::internal)
    }

    fn read(text: &str) -> Result<Self, serde_json::Error> {
        // Before there were registries it was the engine's key alone.
        match text.starts_with('{') {
            true => serde_json::from_str(text),
            false => Ok(Self { tls: Some(Sensitive(text.to_owned())), registry: None }),
        }
    }

    /// Seals them for the database; `None`: there is nothing to seal.
    pub fn seal(&self, gateway: &Gateway, name: &Name) -> ApiResult<Option<Vec<u8>>> {
        if *self == Self::default() {
            return Ok(None);
        }
        let text = zeroize::Zeroizing::new(serde_json::to_string(self).map_err(ApiError::internal)?);
        Ok(Some(gateway.secrets.seal(&sealed_as(name), &text)?))
    }

    /// What it takes to be let in by TLS.
    pub fn tls(&self, runtime: &StoredRuntime) -> Option<EngineTls> {
        let (ca, certificate) = (runtime.ca.clone()?, runtime.certificate.clone()?);
        Some(EngineTls { ca, certificate, key: self.tls.clone()? })
    }

    /// What it takes to log in at the registry.
    pub fn login(&self, runtime: &StoredRuntime) -> Option<RegistryLogin> {
        Some(RegistryLogin { user: runtime.login.as_ref()?.user.clone(), password: self.registry.clone()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_before_are_read_and_new_ones_replace_what_they_name() {
        let text = |secret: &Option<Sensitive>| secret.as_ref().map(|secret| secret.0.clone()).unwrap_or_default();
        let check = |keys: Keys, tls: &str, registry: &str| {
            assert_eq!((text(&keys.tls), text(&keys.registry)), (tls.to_owned(), registry.to_owned()));
            let again = Keys::read(&serde_json::to_string(&keys).unwrap()).unwrap();
            assert!(again == keys, "what was written reads otherwise");
        };
        let before = Keys::read("-----BEGIN PRIVATE KEY-----").unwrap();
        check(before.clone(), "-----BEGIN PRIVATE KEY-----", "");
        let login = RegistryLogin { user: "u".into(), password: Sensitive("p".into()) };
        check(Keys::of(None, Some(&login), before.clone()), "-----BEGIN PRIVATE KEY-----", "p");
        let tls = EngineTls { ca: String::new(), certificate: String::new(), key: Sensitive("new".into()) };
        check(Keys::of(Some(&tls), None, Keys::of(None, Some(&login), before)), "new", "p");
        check(Keys::default(), "", "");
        assert!(Keys::read("{\"tls\": 1}").is_err());
    }
}
