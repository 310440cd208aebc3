//! `openshell policy keygen` and `sign`: publishers' keys and what they vouch for.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use openshell_api::signature::{ModuleSignature, PublisherKey, SignatureError, signing_key};
use openshell_policy_host::digest;
use serde::Serialize;

use super::push::UNVERSIONED;
use super::source::{self, Component};
use crate::args::policy::{KeygenArgs, SignArgs};
use crate::command::{Context, DONE};
use crate::error::{Error, TrustError};
use crate::output::facts;

#[derive(Debug, Serialize)]
struct KeyView {
    key: PublisherKey,
    private: String,
    public: String,
}

/// Writes a new pair of keys. Never overwrites one.
pub fn keygen(cx: &Context, args: &KeygenArgs) -> Result<u8, Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Error::Io { doing: "get random bytes".into(), source: error.into() })?;
    let key = SigningKey::from_bytes(&seed);
    let public_file = beside(&args.file, "pub");
    let pem = |error: &dyn std::fmt::Display| {
        Error::Trust(TrustError::Key { path: args.file.clone(), reason: SignatureError::PrivateKey(error.to_string()) })
    };
    let private = key.to_pkcs8_pem(LineEnding::LF).map_err(|error| pem(&error))?;
    let public = key.verifying_key().to_public_key_pem(LineEnding::LF).map_err(|error| pem(&error))?;
    if public_file.exists() {
        return Err(Error::Trust(TrustError::Exists { path: public_file }));
    }
    write_new(&args.file, 0o600, &private)?;
    write_new(&public_file, 0o644, &public)?;
    let view = KeyView {
        key: PublisherKey::of(&key),
        private: args.file.display().to_string(),
        public: public_file.display().to_string(),
    };
    cx.out.data(&view, || {
        facts(&[
            ("key", view.key.to_string()),
            ("private", format!("{} (keep it to yourself)", view.private)),
            ("public", format!("{} (for `openshell gateway trust add`)", view.public)),
        ])
    })?;
    Ok(DONE)
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), Error> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::Trust(TrustError::Exists { path: path.to_owned() }));
        }
        Err(error) => return Err(Error::io(format!("write {}", path.display()))(error)),
    };
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(Error::io(format!("write {}", path.display())))
}

/// Reads a private key. Refuses one that others can read.
pub fn read_private(path: &Path) -> Result<SigningKey, Error> {
    let read = || format!("read {}", path.display());
    let mode = std::fs::metadata(path).map_err(Error::io(read()))?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::Trust(TrustError::Exposed { path: path.to_owned(), mode }));
    }
    let text = std::fs::read_to_string(path).map_err(Error::io(read()))?;
    signing_key(&text).map_err(|reason| Error::Trust(TrustError::Key { path: path.to_owned(), reason }))
}

/// Reads a public key: a PEM file, or its text form.
pub fn read_public(given: &str) -> Result<PublisherKey, Error> {
    if given.starts_with("ed25519:") {
        let key = PublisherKey::parse(given);
        return key.map_err(|reason| Error::Trust(TrustError::Key { path: given.into(), reason }));
    }
    let text = std::fs::read_to_string(given).map_err(Error::io(format!("read {given}")))?;
    PublisherKey::parse(&text).map_err(|reason| Error::Trust(TrustError::Key { path: given.into(), reason }))
}

/// `policy.wasm` → `policy.wasm.sig`.
pub fn signature_file(component: &Path) -> PathBuf {
    beside(component, "sig")
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// Reads a signature's file. What it says must hold of the component.
pub fn read_signature(file: &Path, component: &[u8]) -> Result<ModuleSignature, Error> {
    let text = std::fs::read(file).map_err(Error::io(format!("read {}", file.display())))?;
    understood(&file.display().to_string(), &text, component)
}

/// A signature from anywhere, which must hold of the component.
pub fn understood(origin: &str, text: &[u8], component: &[u8]) -> Result<ModuleSignature, Error> {
    let refuse = |reason| Error::Trust(TrustError::Signature { origin: origin.to_owned(), reason });
    let signature = ModuleSignature::parse(text).map_err(&refuse)?;
    signature.verify(&signature.name, &signature.version, &digest(component)).map_err(&refuse)?;
    Ok(signature)
}

/// Vouches for a component, by name and version.
pub async fn sign(cx: &Context, args: SignArgs) -> Result<u8, Error> {
    let key = read_private(&args.key)?;
    let component = source::component(cx.out, &args.source.source).await?;
    super::inspect::check(&args.source.source, &component.bytes)?;
    let Component { bytes, name, version, .. } = component;
    let name = match args.name {
        Some(name) => name,
        None => source::name_from(&name)?,
    };
    let version = args.version.or(version).unwrap_or_else(|| UNVERSIONED.into());
    let signature = ModuleSignature::sign(&key, name.as_str(), &version, &digest(&bytes));
    let file = match args.out {
        Some(file) => file,
        None if args.source.source.is_file() => signature_file(&args.source.source),
        None => signature_file(Path::new(&format!("{name}.wasm"))),
    };
    write_signature(&file, &signature)?;
    cx.out.data(&signature, || {
        facts(&[
            ("policy", format!("{name}@{version}")),
            ("digest", signature.digest.clone()),
            ("key", signature.key.to_string()),
            ("signature", file.display().to_string()),
        ])
    })?;
    Ok(DONE)
}

/// Writes a signature's file.
pub fn write_signature(file: &Path, signature: &ModuleSignature) -> Result<(), Error> {
    let doing = || format!("write {}", file.display());
    let text = serde_json::to_string_pretty(signature).map_err(|e| Error::io(doing())(e.into()))?;
    std::fs::write(file, text + "\n").map_err(Error::io(doing()))
}
