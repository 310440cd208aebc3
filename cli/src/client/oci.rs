//! Policies in OCI registries, in the CNCF's layout for WebAssembly artifacts: one `application/wasm` layer, and a
//! configuration that says what the component exports and imports.
//!
//! Source: CNCF TAG Runtime, "Wasm OCI Artifact Layout"; OCI distribution and image specifications 1.1.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::manifest::OciManifest;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use openshell_api::signature::ModuleSignature;
use openshell_policy_host::author::MAX_COMPONENT;
use openshell_policy_host::{Checked, digest};
use serde_json::{Value, json};

use crate::error::Error;

/// How references begin.
pub const SCHEME: &str = "oci://";
const LAYER: &str = "application/wasm";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const TITLE: &str = "org.opencontainers.image.title";
const VERSION: &str = "org.opencontainers.image.version";
/// The layer's annotation that holds a publisher's signature, as JSON.
const SIGNATURE: &str = "dev.openshell.signature";

/// A place in a registry: `oci://host[:port]/repository[:tag|@digest]`.
#[derive(Debug, Clone)]
pub struct Place(Reference);

/// What lies there.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The component.
    pub bytes: Vec<u8>,
    /// Its name, as its publisher gave it; else the repository's last part.
    pub name: String,
    /// Its version, as its publisher gave it; else the tag.
    pub version: Option<String>,
    /// Digest of the manifest: names exactly this artifact.
    pub manifest: String,
    /// A publisher's signature, as it came: nobody has looked at it yet.
    pub signature: Option<String>,
}

impl Place {
    /// Reads a reference; `None`: it is none of a registry's.
    pub fn parse(given: &str) -> Option<Result<Self, Error>> {
        let reference = given.strip_prefix(SCHEME)?;
        Some(reference.parse().map(Self).map_err(|reason: oci_client::ParseError| Error::Registry {
            place: given.to_owned(),
            reason: reason.to_string(),
        }))
    }

    /// The same, of a path as clap gives it.
    pub fn of_path(path: &Path) -> Option<Result<Self, Error>> {
        Self::parse(path.to_str()?)
    }

    /// Stores a component. Answers the digest of its manifest.
    pub async fn push(
        &self,
        bytes: &[u8],
        name: &str,
        version: &str,
        checked: &Checked,
        signature: Option<&ModuleSignature>,
    ) -> Result<String, Error> {
        let names =
            |names: &[String]| names.iter().map(|name| format!("{}/{name}", checked.contract)).collect::<Vec<_>>();
        let hooks: Vec<String> = checked.hooks.iter().map(|hook| hook.name().to_owned()).collect();
        let config = json!({
            "created": jiff::Timestamp::now(),
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [digest(bytes)],
            "component": { "exports": names(&hooks), "imports": names(&checked.imports), "target": null },
        });
        let mut annotations = BTreeMap::from([(TITLE, name.to_owned()), (VERSION, version.to_owned())]);
        if let Some(signature) = signature {
            annotations.insert(SIGNATURE, json!(signature).to_string());
        }
        let annotations = annotations.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let layer = ImageLayer::new(bytes.to_vec(), LAYER.to_owned(), Some(annotations));
        let config = Config::new(config.to_string().into_bytes(), CONFIG.to_owned(), None);
        let (client, auth) = self.client();
        client.push(&self.0, &[layer], config, &auth, None).await.map_err(|error| self.failed(error))?;
        client.fetch_manifest_digest(&self.0, &auth).await.map_err(|error| self.failed(error))
    }

    /// Fetches a component. Refuses anything but one layer of WebAssembly whose digest is what the manifest and the
    /// configuration say, and what is larger than a gateway would take.
    pub async fn pull(&self) -> Result<Pulled, Error> {
        let (client, auth) = self.client();
        let refuse = |reason: String| Error::Registry { place: self.to_string(), reason };
        let (manifest, manifest_digest) =
            client.pull_manifest(&self.0, &auth).await.map_err(|error| self.failed(error))?;
        let OciManifest::Image(manifest) = manifest else {
            return Err(refuse("it is an index of images, not a WebAssembly artifact".into()));
        };
        let [layer] = &manifest.layers[..] else {
            return Err(refuse(format!("it has {} layers; a policy has one", manifest.layers.len())));
        };
        if layer.media_type != LAYER || manifest.config.media_type != CONFIG {
            return Err(refuse(format!("it holds `{}`, not a WebAssembly component", layer.media_type)));
        }
        if u64::try_from(layer.size).is_ok_and(|size| size > MAX_COMPONENT as u64) {
            return Err(refuse(format!("it has {} bytes; the limit is {MAX_COMPONENT}", layer.size)));
        }
        // By the manifest that was just judged: a tag may name another one by now.
        let (mut bytes, mut config) = (Vec::new(), Vec::new());
        client.pull_blob(&self.0, layer, &mut bytes).await.map_err(|error| self.failed(error))?;
        client.pull_blob(&self.0, &manifest.config, &mut config).await.map_err(|error| self.failed(error))?;
        let found = digest(&bytes);
        let config: Value = serde_json::from_slice(&config)
            .map_err(|error| refuse(format!("its configuration is not JSON: {error}")))?;
        if found != layer.digest || config["layerDigests"][0] != *found {
            return Err(refuse(format!("its bytes are {found}; its manifest and configuration say otherwise")));
        }
        let annotation = |key: &str| layer.annotations.as_ref().and_then(|all| all.get(key)).cloned();
        let last = self.0.repository().rsplit('/').next().unwrap_or_default();
        Ok(Pulled {
            bytes,
            name: annotation(TITLE).unwrap_or_else(|| last.to_owned()),
            version: annotation(VERSION).or_else(|| self.0.tag().map(str::to_owned)),
            manifest: manifest_digest,
            signature: annotation(SIGNATURE),
        })
    }

    /// TLS everywhere but on this machine's own loopback.
    fn client(&self) -> (Client, RegistryAuth) {
        // Another part of this process may have chosen already: the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let registry = self.0.resolve_registry().to_owned();
        let host = registry.rsplit_once(':').map_or(&*registry, |(host, _)| host);
        let protocol = match host {
            "localhost" | "127.0.0.1" | "[::1]" => ClientProtocol::HttpsExcept(vec![registry.clone()]),
            _ => ClientProtocol::Https,
        };
        (Client::new(ClientConfig { protocol, ..ClientConfig::default() }), login(&registry))
    }

    fn failed(&self, error: oci_client::errors::OciDistributionError) -> Error {
        Error::Registry { place: self.to_string(), reason: error.to_string() }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{SCHEME}{}", self.0)
    }
}

/// What `docker login` wrote down for this registry; else nobody.
fn login(registry: &str) -> RegistryAuth {
    let directory = std::env::var_os("DOCKER_CONFIG")
        .map(std::path::PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker")));
    let read = || {
        let text = std::fs::read(directory?.join("config.json")).ok()?;
        let config: Value = serde_json::from_slice(&text).ok()?;
        let encoded = config["auths"][registry]["auth"].as_str()?;
        let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
        let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some(RegistryAuth::Basic(user.to_owned(), password.to_owned()))
    };
    read().unwrap_or(RegistryAuth::Anonymous)
}
