//! A policy as given on the command line: a crate to build, a built component, or one in a registry.

use std::path::{Path, PathBuf};
use std::time::Duration;

use openshell_api::Name;
use openshell_api::signature::ModuleSignature;
use openshell_policy_build::{BuildOptions, Built};
use openshell_policy_host::author::MAX_COMPONENT;

use super::keys;
use crate::client::oci::{Place, Pulled};
use crate::error::Error;
use crate::output::Output;

/// A component, and what its source says of it.
#[derive(Debug)]
pub struct Component {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The crate's name, the file's, or its publisher's.
    pub name: String,
    /// The crate's version, or its publisher's; absent for a file.
    pub version: Option<String>,
    /// Who vouches for it: `<file>.sig`, or the registry's. It holds of these bytes.
    pub signature: Option<ModuleSignature>,
    /// How long building took; absent for a file.
    pub build_time: Option<Duration>,
}

/// Builds the crate in a directory, reads a component's file, or fetches it from a registry (`oci://…`).
pub async fn component(out: Output, source: &Path) -> Result<Component, Error> {
    if let Some(place) = Place::of_path(source) {
        let place = place?;
        let _progress = out.progress(format!("pulling {place}"));
        let Pulled { bytes, name, version, signature, .. } = place.pull().await?;
        let signature =
            signature.map(|text| keys::understood(&place.to_string(), text.as_bytes(), &bytes)).transpose()?;
        let version = signature.as_ref().map(|signature| signature.version.clone()).or(version);
        let name = signature.as_ref().map_or(name, |signature| signature.name.clone());
        return Ok(Component { bytes, name, version, signature, build_time: None });
    }
    if source.is_dir() {
        let began = std::time::Instant::now();
        let built = build(out, source).await?;
        let build_time = Some(began.elapsed());
        let (bytes, version) = (built.component, Some(built.version));
        return Ok(Component { bytes, name: built.name, version, signature: None, build_time });
    }
    let size = source.metadata().map_or(0, |metadata| metadata.len());
    if size > MAX_COMPONENT as u64 {
        return Err(Error::TooLarge { path: source.to_owned(), found: size, limit: MAX_COMPONENT as u64 });
    }
    match std::fs::read(source) {
        Ok(bytes) => {
            let file = keys::signature_file(source);
            let signature = if file.exists() { Some(keys::read_signature(&file, &bytes)?) } else { None };
            let stem = || source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let name = signature.as_ref().map_or_else(stem, |signature| signature.name.clone());
            let version = signature.as_ref().map(|signature| signature.version.clone());
            Ok(Component { bytes, name, version, signature, build_time: None })
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Error::NoSource { path: source.to_owned() }),
        Err(source_error) => Err(Error::Io { doing: format!("read {}", source.display()), source: source_error }),
    }
}

/// Builds the crate in a directory.
pub async fn build(out: Output, directory: &Path) -> Result<Built, Error> {
    let progress = out.progress(format!("building {}", directory.display()));
    let tell = progress.teller();
    let directory: PathBuf = directory.to_owned();
    let task = tokio::task::spawn_blocking(move || {
        openshell_policy_build::build(&directory, &BuildOptions { progress: &tell, ..BuildOptions::default() })
    });
    let built = task.await.map_err(|e| Error::Io { doing: "build".into(), source: e.into() })?;
    drop(progress);
    Ok(built?)
}

/// A policy's name from a crate's or a file's: `My_Policy` → `my-policy`. Refuses what still is none.
pub fn name_from(given: &str) -> Result<Name, Error> {
    let name = given.to_ascii_lowercase().replace(['_', '.'], "-");
    Name::parse(&name).map_err(|_| Error::BadName { given: given.to_owned() })
}
