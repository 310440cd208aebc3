//! The gateway's own CA and the certificate it serves.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::state_dir::{StateDir, StateDirError};

/// The CA's private key.
pub const CA_KEY_FILE: &str = "ca.key";
/// The CA's certificate.
pub const CA_FILE: &str = "ca.pem";
const SERVER_DAYS: i64 = 397;
const CA_DAYS: i64 = 3650;

/// Why no TLS identity could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Files.
    #[error(transparent)]
    Files(#[from] StateDirError),
    /// Certificates.
    #[error("the gateway's certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS.
    #[error("the gateway's TLS could not be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The CA's file is not PEM text.
    #[error("{0} is not a PEM file")]
    NotPem(PathBuf),
}

/// What the gateway serves TLS with.
pub struct Identity {
    /// For the acceptor: HTTP/2 and HTTP/1.1.
    pub server: Arc<ServerConfig>,
    /// PEM of the CA, for clients and supervisors.
    pub ca_pem: String,
    /// Its file.
    pub ca_path: PathBuf,
}

/// Reads the CA (or makes one) and mints a fresh server certificate, whose key never touches the disk: for this machine's names, the
/// address it listens on, and what else it is called.
pub fn identity(dir: &StateDir, listen: IpAddr, called: Option<&str>) -> Result<Identity, TlsError> {
    let ca_path = dir.path(CA_FILE);
    let text = |bytes: Vec<u8>, name: &str| String::from_utf8(bytes).map_err(|_| TlsError::NotPem(dir.path(name)));
    let mut failure = None;
    let key_pem = dir.read_or_create(CA_KEY_FILE, || match KeyPair::generate() {
        Ok(key) => Ok(key.serialize_pem().into_bytes()),
        Err(error) => {
            failure = Some(error);
            Err(StateDirError::BadKey { path: dir.path(CA_KEY_FILE) })
        }
    });
    if let Some(error) = failure {
        return Err(error.into());
    }
    let ca_key = KeyPair::from_pem(&text(key_pem?, CA_KEY_FILE)?)?;
    let ca_pem = match std::fs::read(&ca_path) {
        Ok(bytes) => text(bytes, CA_FILE)?,
        Err(_) => {
            let pem = ca_params()?.self_signed(&ca_key)?.pem();
            crate::state_dir::write_private(&ca_path, pem.as_bytes())?;
            pem
        }
    };
    let issuer = Issuer::from_ca_cert_pem(&ca_pem, ca_key)?;

    let key = KeyPair::generate()?;
    let certificate = server_params(listen, called)?.signed_by(&key, &issuer)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Identity { server: Arc::new(server), ca_pem, ca_path })
}

/// Refuses what is no authority's key and certificate.
pub fn check(key: &[u8], certificate: &[u8]) -> Result<(), TlsError> {
    let text = |bytes: &[u8], name: &str| {
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| TlsError::NotPem(PathBuf::from(name)))
    };
    let key = KeyPair::from_pem(&text(key, CA_KEY_FILE)?)?;
    Issuer::from_ca_cert_pem(&text(certificate, CA_FILE)?, key)?;
    Ok(())
}

fn ca_params() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, "OpenShell gateway CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, CA_DAYS);
    Ok(params)
}

fn server_params(listen: IpAddr, called: Option<&str>) -> Result<CertificateParams, rcgen::Error> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if let Ok(host) = nix::unistd::gethostname() {
        names.extend(host.into_string().ok().filter(|host| !host.is_empty() && host != "localhost"));
    }
    if !listen.is_unspecified() && !names.contains(&listen.to_string()) {
        names.push(listen.to_string());
    }
    if let Some(called) = called.filter(|called| !names.iter().any(|name| name == called)) {
        names.push(called.to_owned());
    }
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "OpenShell gateway");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    valid_for(&mut params, SERVER_DAYS);
    Ok(params)
}

/// From yesterday (clocks differ) for so many days.
fn valid_for(params: &mut CertificateParams, days: i64) {
    let today = jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::UTC).date();
    let date = |days: i64| {
        let date = today.saturating_add(jiff::Span::new().days(days));
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = date(-1);
    params.not_after = date(days);
}
