//! `openshell policy pull`, and `--oci-out` of `policy push`: policies in registries.

use openshell_api::signature::{ModuleSignature, PublisherKey};
use openshell_policy_host::{Checked, digest};
use serde::Serialize;

use super::{keys, source};
use crate::args::policy::PullArgs;
use crate::client::oci::{Place, Pulled, SCHEME};
use crate::command::{Context, DONE};
use crate::error::Error;
use crate::output::{bytes, facts};

/// A component in a registry.
#[derive(Debug, Serialize)]
pub struct Published {
    name: String,
    version: String,
    /// `oci://…`, as it was given.
    pub reference: String,
    /// Digest of the manifest: names exactly this artifact.
    manifest: String,
    /// Digest of the component.
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_by: Option<PublisherKey>,
}

/// A registry's reference. Refuses anything else.
pub fn place(given: &str) -> Result<Place, Error> {
    let elsewhere = || Error::Registry { place: given.to_owned(), reason: format!("it does not begin with {SCHEME}") };
    Place::parse(given).ok_or_else(elsewhere)?
}

/// Stores a checked component.
pub async fn push(
    cx: &Context,
    place: &Place,
    component: &[u8],
    name: &str,
    version: &str,
    (checked, signature): (&Checked, Option<&ModuleSignature>),
) -> Result<Published, Error> {
    let _progress = cx.out.progress(format!("publishing {name}@{version} as {place}"));
    let manifest = place.push(component, name, version, checked, signature).await?;
    Ok(Published {
        name: name.to_owned(),
        version: version.to_owned(),
        reference: place.to_string(),
        manifest,
        digest: digest(component),
        size: component.len() as u64,
        file: None,
        signed_by: signature.map(|signature| signature.key),
    })
}

/// Fetches a component, checks it as a gateway would, and writes it to a file.
pub async fn pull(cx: &Context, args: PullArgs) -> Result<u8, Error> {
    let place = place(&args.place)?;
    let progress = cx.out.progress(format!("pulling {place}"));
    let Pulled { bytes, name, version, manifest, signature } = place.pull().await?;
    drop(progress);
    let origin = place.to_string();
    let signature = signature.map(|text| keys::understood(&origin, text.as_bytes(), &bytes)).transpose()?;
    let version = signature.as_ref().map(|signature| signature.version.clone()).or(version);
    let name = signature.as_ref().map_or(name, |signature| signature.name.clone());
    let name = source::name_from(&name)?.to_string();
    let file = args.out.unwrap_or_else(|| format!("{name}.wasm").into());
    super::inspect::check(&file, &bytes)?;
    std::fs::write(&file, &bytes).map_err(Error::io(format!("write {}", file.display())))?;
    if let Some(signature) = &signature {
        keys::write_signature(&keys::signature_file(&file), signature)?;
    }
    let published = Published {
        name,
        version: version.unwrap_or_default(),
        reference: place.to_string(),
        manifest,
        digest: digest(&bytes),
        size: bytes.len() as u64,
        file: Some(file.display().to_string()),
        signed_by: signature.map(|signature| signature.key),
    };
    published.show(cx)
}

impl Published {
    /// Shows it.
    pub fn show(&self, cx: &Context) -> Result<u8, Error> {
        cx.out.data(self, || {
            let mut pairs = vec![
                ("policy", format!("{}@{}", self.name, self.version)),
                ("reference", self.reference.clone()),
                ("manifest", self.manifest.clone()),
                ("digest", self.digest.clone()),
                ("size", bytes(self.size)),
            ];
            pairs.extend(self.signed_by.map(|key| ("signed by", key.to_string())));
            pairs.extend(self.file.clone().map(|file| ("file", file)));
            facts(&pairs)
        })?;
        Ok(DONE)
    }
}
