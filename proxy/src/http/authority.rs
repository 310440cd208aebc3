//! The sandbox's own certificate authority: mints a leaf for each host whose TLS is terminated.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use moka::sync::Cache;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::tls;

const CERTIFICATE_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca-key.pem";
const CA_DAYS: i64 = 3650;
const LEAF_DAYS: i64 = 7;
const LEAF_CACHE_ENTRIES: u64 = 4096;
const LEAF_CACHE_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Signs leaves for one sandbox. Its key never leaves the supervisor; no `Debug`, so it can't be logged.
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    leaf_key: KeyPair,
    provider: Arc<rustls::crypto::CryptoProvider>,
    tickets: Arc<dyn rustls::server::ProducesTickets>,
    leaves: Cache<String, Arc<ServerConfig>>,
}

/// Why there is no certificate authority, or no leaf.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its files can't be read or written.
    #[error("the certificate authority's files: {0}")]
    Files(#[from] io::Error),
    /// Its certificate or key can't be made or parsed.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS refuses the leaf.
    #[error("TLS configuration: {0}")]
    Tls(#[from] rustls::Error),
    /// The certificate is there without its key.
    #[error("{CERTIFICATE_FILE} is there and {KEY_FILE} is not")]
    Incomplete,
    /// The kept certificate is not PEM.
    #[error("{CERTIFICATE_FILE} holds no certificate")]
    Malformed,
}

impl CertificateAuthority {
    /// Makes a new one, named after the sandbox. It lives in memory alone.
    pub fn generate(sandbox: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let certificate = ca_params(sandbox)?.self_signed(&key)?;
        Self::assemble(certificate.pem(), certificate.der().clone(), key)
    }

    /// Loads the one kept in `directory`, or makes one and keeps it there (key readable by its owner only). Refuses a
    /// certificate that lost its key.
    pub fn load_or_generate(directory: &Path, sandbox: &str) -> Result<Self, AuthorityError> {
        let (certificate, key) = (directory.join(CERTIFICATE_FILE), directory.join(KEY_FILE));
        match (certificate.exists(), key.exists()) {
            (true, true) => {
                let pem = fs::read_to_string(certificate)?;
                let key = KeyPair::from_pem(&fs::read_to_string(key)?)?;
                let der = first_certificate(&pem)?;
                Self::assemble(pem, der, key)
            }
            (false, kept) => {
                let fresh = Self::generate(sandbox)?;
                fs::create_dir_all(directory)?;
                // A key without its certificate, which is written last, has never signed anything.
                if kept {
                    fs::remove_file(&key)?;
                }
                write_private(&key, &fresh.issuer.key().serialize_pem())?;
                let unfinished = directory.join(".ca.pem.new");
                fs::write(&unfinished, &fresh.pem)?;
                fs::rename(unfinished, certificate)?;
                Ok(fresh)
            }
            (true, false) => Err(AuthorityError::Incomplete),
        }
    }

    fn assemble(pem: String, certificate: CertificateDer<'static>, key: KeyPair) -> Result<Self, AuthorityError> {
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(&certificate, key)?,
            certificate,
            pem,
            leaf_key: KeyPair::generate()?,
            provider: tls::provider(),
            tickets: aws_lc_rs::Ticketer::new()?,
            leaves: Cache::builder().max_capacity(LEAF_CACHE_ENTRIES).time_to_live(LEAF_CACHE_LIFE).build(),
        })
    }

    /// Its certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its certificate, DER.
    pub fn der(&self) -> &[u8] {
        &self.certificate
    }

    /// What the workload should trust: the system's roots, `additional` (PEM, as given) and this authority.
    pub fn bundle(&self, additional: Option<&str>) -> Vec<u8> {
        let mut bundle = String::new();
        for root in rustls_native_certs::load_native_certs().certs {
            push_pem(&mut bundle, &root);
        }
        self.extend(bundle.into_bytes(), additional)
    }

    /// A bundle of the system that the workload sees, with `additional` (PEM, as given) and this authority added.
    pub fn extend(&self, mut bundle: Vec<u8>, additional: Option<&str>) -> Vec<u8> {
        if bundle.last().is_some_and(|last| *last != b'\n') {
            bundle.push(b'\n');
        }
        for pem in additional.into_iter().chain([self.pem.as_str()]) {
            bundle.extend_from_slice(pem.trim_end().as_bytes());
            bundle.push(b'\n');
        }
        bundle
    }

    /// TLS settings that present a leaf for `host` and offer h2 and http/1.1. Minted once per host and day.
    pub(super) fn server_config(&self, host: &str) -> Result<Arc<ServerConfig>, AuthorityError> {
        if let Some(config) = self.leaves.get(host) {
            return Ok(config);
        }
        let config = Arc::new(self.mint(host)?);
        self.leaves.insert(host.to_owned(), Arc::clone(&config));
        Ok(config)
    }

    fn mint(&self, host: &str) -> Result<ServerConfig, AuthorityError> {
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        // A common name holds at most 64 characters; clients read the alternative names.
        params.distinguished_name = common_name(host.get(..64).unwrap_or(host));
        set_validity(&mut params, LEAF_DAYS);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&self.leaf_key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone(), self.certificate.clone()], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ignore_client_order = true;
        config.ticketer = Arc::clone(&self.tickets);
        config.send_tls13_tickets = 1;
        Ok(config)
    }
}

fn ca_params(sandbox: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = common_name(&format!("OpenShell sandbox {}", sandbox.get(..40).unwrap_or(sandbox)));
    set_validity(&mut params, CA_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// From yesterday (clocks differ) for `days` days.
fn set_validity(params: &mut CertificateParams, days: i64) {
    let today = jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::now()).date();
    let day = |offset: i64| {
        let date = today.saturating_add(jiff::Span::new().days(offset));
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = day(-1);
    params.not_after = day(days);
}

fn first_certificate(pem: &str) -> Result<CertificateDer<'static>, AuthorityError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| AuthorityError::Malformed)
}

fn write_private(path: &Path, content: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

fn push_pem(bundle: &mut String, certificate: &CertificateDer<'_>) {
    bundle.push_str("-----BEGIN CERTIFICATE-----\n");
    let encoded = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        bundle.push_str(line);
        bundle.push('\n');
        rest = after;
    }
    bundle.push_str("-----END CERTIFICATE-----\n");
}
