//! Whom programs in the sandbox trust: the bundles and trust stores that they read, with the sandbox's authority added.
//!
//! Nothing is taken away: a copy holds what its file holds. It stands in the place of the file where only the image, or the machine,
//! writes that. Of a file that a variable names and that is the workload's own, the copy lies beside [`CA_BUNDLE`] and the variable
//! names it there: nobody could write or remove what a copy covers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use openshell_api::launch::LaunchSpec;

use super::keystore;
use crate::http::CertificateAuthority;
use crate::isolation::{Overlay, SealConfig, Walls};

#[cfg(test)]
mod tests;

/// Where the copies lie that cover no file.
const COPIES: &str = "/run/openshell";
/// What programs are told of that were told of nothing: the system's certificates and the sandbox's own.
const CA_BUNDLE: &str = "/run/openshell/ca.pem";

/// Bundles that programs read whatever their environment says: GnuTLS, so wget and apt, and Go on some systems. Debian, Fedora,
/// Alpine, openSUSE.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// Variables by which programs are told of a bundle: OpenSSL and Go, Python's requests, curl, Git, Node.js, pip, Cargo, Deno, the
/// AWS SDKs, uv, Bun and gRPC. Always set.
const VARIABLES: [&str; 11] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "DENO_CERT",
    "AWS_CA_BUNDLE",
    "HTTPLIB2_CA_CERTS",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
];
/// Others, whose programs find the system's bundle without: Nix, npm, Yarn, Bundler, Perl, Julia, Hex and Google's SDK. Only followed.
const FURTHER_VARIABLES: [&str; 11] = [
    "NIX_SSL_CERT_FILE",
    "npm_config_cafile",
    "NPM_CONFIG_CAFILE",
    "YARN_HTTPS_CA_FILE_PATH",
    "YARN_CA_FILE_PATH",
    "BUNDLE_SSL_CA_CERT",
    "PERL_LWP_SSL_CA_FILE",
    "HTTPS_CA_FILE",
    "JULIA_SSL_CA_ROOTS_PATH",
    "HEX_CACERTS_PATH",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
];

/// Every sandbox has these of its own: what the machine or the image holds there is not seen.
const PRIVATE: [&str; 3] = ["/run", "/tmp", "/var/tmp"];
/// The kernel's.
const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Longest bundle or trust store, in bytes; and all files of a directory together.
const LONGEST: usize = 4 * 1024 * 1024;
/// All copies together, in bytes.
const MOST: usize = 16 * 1024 * 1024;
/// Names that are looked at in a directory of certificates.
const MOST_NAMES: usize = 1024;

/// PEM (RFC 7468, and as OpenSSL names them) of certificates.
const LABELS: [&[u8]; 3] =
    [b"-----BEGIN CERTIFICATE-----", b"-----BEGIN TRUSTED CERTIFICATE-----", b"-----BEGIN X509 CERTIFICATE-----"];

/// Has everything in the sandbox trust its authority: adds copies to what only the inside sees, and to the environment where they
/// lie. What an image or a user has set stays, as far as there is something to add to.
pub(super) fn install(
    ca: &CertificateAuthority,
    spec: &LaunchSpec,
    config: &mut SealConfig,
    environment: &mut BTreeMap<String, String>,
) {
    let places = Places::of(config, spec.own_root);
    let mut copies = Copies::new(ca, spec.upstream_ca.as_deref(), places);
    copies.system();
    copies.tell(environment, Path::new(spec.workdir.as_deref().unwrap_or(&spec.workspace)));
    copies.java(environment.get("JAVA_HOME").map(Path::new));
    config.overlays.append(&mut copies.overlays);
}

/// Copies that are to be placed.
struct Copies<'a> {
    ca: &'a CertificateAuthority,
    /// Further certificates to trust, PEM.
    additional: Option<&'a str>,
    places: Places,
    overlays: Vec<Overlay>,
    /// Files that a copy covers.
    covered: BTreeSet<PathBuf>,
    /// Where the copies of others lie.
    elsewhere: BTreeMap<PathBuf, String>,
    /// Bytes that may still be copied.
    room: usize,
}

impl<'a> Copies<'a> {
    fn new(ca: &'a CertificateAuthority, additional: Option<&'a str>, places: Places) -> Self {
        let (overlays, covered, elsewhere) = Default::default();
        Self { ca, additional, places, overlays, covered, elsewhere, room: MOST }
    }

    /// The system's bundles, and one to tell of. Of an image without any, that is the machine's.
    fn system(&mut self) {
        let kept = SYSTEM_BUNDLES.into_iter().filter_map(|path| Some((path, read(Path::new(path))?)));
        let kept: Vec<_> = kept.collect();
        let told = match kept.iter().find(|(_, kept)| !certificates(kept).is_empty()) {
            Some((_, roots)) => self.ca.extend(roots.clone(), self.additional),
            None => self.ca.bundle(self.additional),
        };
        self.place(CA_BUNDLE.into(), told);
        for (path, kept) in kept {
            let copy = self.ca.extend(kept, self.additional);
            self.place(path.into(), copy);
            self.covered.extend(fs::canonicalize(path));
        }
    }

    /// Has every variable name a bundle that holds the authority. `start`: what relative paths start at.
    fn tell(&mut self, environment: &mut BTreeMap<String, String>, start: &Path) {
        for variable in VARIABLES {
            let set = environment.get(variable).filter(|value| !value.is_empty());
            let told = set.and_then(|value| self.named(variable, start, value));
            if let (Some(value), None) = (set, &told) {
                let value = value.as_str();
                tracing::warn!(variable, value, "no certificates to add to: the sandbox's own bundle is named instead");
            }
            environment.insert(variable.to_owned(), told.unwrap_or_else(|| CA_BUNDLE.to_owned()));
        }
        for variable in FURTHER_VARIABLES {
            let told = environment.get(variable).and_then(|value| self.named(variable, start, value));
            environment.extend(told.map(|told| (variable.to_owned(), told)));
        }
    }

    /// A copy of what `variable` names, a bundle or a directory of certificates, and what it is to name then. `None`: there is no
    /// certificate that the sandbox might read.
    fn named(&mut self, variable: &str, start: &Path, value: &str) -> Option<String> {
        if value == CA_BUNDLE {
            return Some(value.to_owned());
        }
        if value.is_empty() {
            return None;
        }
        let path = start.join(value);
        let file = fs::canonicalize(&path).ok()?;
        let by_its_name = self.places.fixed(&path);
        if self.covered.contains(&file) {
            return if by_its_name { Some(value.to_owned()) } else { file.to_str().map(str::to_owned) };
        }
        if let Some(copy) = self.elsewhere.get(&file) {
            return Some(copy.clone());
        }
        let contents = self.places.contents(&file);
        let found: BTreeSet<&[u8]> = contents.iter().flat_map(|content| certificates(content)).collect();
        let found = found.into_iter().collect::<Vec<_>>().join(&b'\n');
        if found.is_empty() {
            return None;
        }
        if by_its_name && self.places.fixed(&file) && file.is_file() && is_public(&file) {
            let copy = self.ca.extend(contents.concat(), self.additional);
            return self.place(file.clone(), copy).then(|| {
                self.covered.insert(file);
                value.to_owned()
            });
        }
        // Nothing but certificates: a key beside them may be for fewer eyes.
        let copy = self.ca.extend(found, self.additional);
        let there = format!("{COPIES}/{variable}.pem");
        self.place(there.clone().into(), copy).then(|| {
            self.elsewhere.insert(file, there.clone());
            there
        })
    }

    /// Java's trust stores; `home`: `$JAVA_HOME`.
    fn java(&mut self, home: Option<&Path>) {
        for store in keystore::stores(home.filter(|home| home.is_absolute())) {
            if !self.places.fixed(&store) || !may(&store, 0o004) {
                continue;
            }
            let Some(kept) = read(&store) else { continue };
            match keystore::with_certificate(&kept, "openshell", self.ca.der()) {
                Some(copy) => {
                    self.place(store, copy);
                }
                None => tracing::warn!(
                    path = %store.display(),
                    "neither a JKS nor a PKCS#12 without a password: Java will not trust inspected origins"
                ),
            }
        }
    }

    /// `false`: there is no room for it.
    fn place(&mut self, path: PathBuf, content: Vec<u8>) -> bool {
        let Some(room) = self.room.checked_sub(content.len()) else {
            tracing::warn!(path = %path.display(), "too many certificates altogether: nothing is added to these");
            return false;
        };
        self.room = room;
        self.overlays.push(Overlay { path, content });
        true
    }
}

/// Where things lie, as far as copies go.
#[derive(Debug, Default)]
struct Places {
    /// What the sandbox is shown.
    shown: Vec<PathBuf>,
    /// What the workload may write.
    writable: Vec<PathBuf>,
    /// What each sandbox has of its own.
    private: Vec<PathBuf>,
    /// What nobody inside sees.
    hidden: Vec<PathBuf>,
}

impl Places {
    /// `own_root`: the whole filesystem is the sandbox's, an image's; else the machine's. What lies where systems keep their programs
    /// and settings is no secret, even if policies show less of it.
    fn of(config: &SealConfig, own_root: bool) -> Self {
        let shown: Vec<PathBuf> = match own_root {
            true => vec!["/".into()],
            false => config.walls.read_only.iter().cloned().chain(Walls::default().read_only).collect(),
        };
        let writable = config.walls.read_write.iter().chain([&config.workspace]);
        let private = PRIVATE.map(PathBuf::from).into();
        Self { shown, writable: by_all_names(writable), private, hidden: by_all_names(&config.hidden) }
    }

    /// Whether the sandbox sees it there, and can't change it.
    fn fixed(&self, path: &Path) -> bool {
        let own = under(path, &self.writable) || under(path, &self.private);
        under(path, &self.shown) && !own && !self.hides(path)
    }

    /// Whether the sandbox may know what it holds.
    fn readable(&self, path: &Path) -> bool {
        (under(path, &self.shown) || under(path, &self.writable)) && !self.hides(path)
    }

    /// Of places within one another the innermost counts: a workspace may lie below what is hidden.
    fn hides(&self, path: &Path) -> bool {
        let depth = |places: &[PathBuf]| {
            let around = places.iter().filter(|place| path.starts_with(place));
            around.map(|place| place.components().count()).max()
        };
        under(path, &KERNEL) || depth(&self.hidden) > depth(&self.writable)
    }

    /// What a file holds, or each file of a directory.
    fn contents(&self, path: &Path) -> Vec<Vec<u8>> {
        let mut files = BTreeSet::from([path.to_owned()]);
        if path.is_dir() {
            let entries = fs::read_dir(path).into_iter().flatten().take(MOST_NAMES).flatten();
            files = entries.filter_map(|entry| fs::canonicalize(entry.path()).ok()).collect();
        }
        let mut room = LONGEST;
        let contents = files.iter().filter(|file| self.readable(file)).filter_map(|file| read(file));
        let fitting = contents.take_while(|content| {
            let left = room.checked_sub(content.len());
            room = left.unwrap_or(0);
            left.is_some()
        });
        fitting.collect()
    }
}

/// These, and where links lead.
fn by_all_names<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Vec<PathBuf> {
    let both = |path: &'a PathBuf| fs::canonicalize(path).ok().into_iter().chain([path.clone()]);
    paths.into_iter().flat_map(both).collect()
}

fn under(path: &Path, places: &[impl AsRef<Path>]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

/// Whether others than its owner may do this with it (stat(2)).
fn may(path: &Path, bits: u32) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & bits == bits)
}

/// Whether everyone may read it, and get there.
fn is_public(file: &Path) -> bool {
    may(file, 0o004) && file.ancestors().skip(1).all(|above| may(above, 0o001))
}

/// What a regular file holds. `None`: there is none, or none that can be read, or it is too long.
fn read(path: &Path) -> Option<Vec<u8>> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    // Had a pipe come into its place, nobody would wait for it.
    let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let mut content = Vec::new();
    file.take(LONGEST as u64 + 1).read_to_end(&mut content).ok()?;
    if content.len() > LONGEST {
        tracing::warn!(path = %path.display(), "too long for certificates: nothing is added to it");
        return None;
    }
    Some(content)
}

/// The certificates of a bundle as they stand there, and nothing else.
fn certificates(bundle: &[u8]) -> Vec<&[u8]> {
    let (mut found, mut begun, mut at) = (Vec::new(), None, 0);
    for line in bundle.split_inclusive(|byte| *byte == b'\n') {
        let label = line.trim_ascii();
        if label.starts_with(b"-----BEGIN ") {
            begun = LABELS.contains(&label).then_some(at);
        }
        at += line.len();
        if label.starts_with(b"-----END ")
            && let Some(begun) = begun.take()
        {
            found.push(bundle[begun..at].trim_ascii());
        }
    }
    found
}
