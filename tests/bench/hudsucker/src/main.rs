//! `hudsucker-peer PORT CA.pem CA-KEY.pem ORIGIN-CA.pem`

use std::env::args;
use std::fs::read_to_string;
use std::net::Ipv4Addr;
use std::sync::Arc;

use hudsucker::Proxy;
use hudsucker::certificate_authority::RcgenAuthority;
use hudsucker::rcgen::{Issuer, KeyPair};
use hudsucker::rustls::crypto::aws_lc_rs;
use hudsucker::rustls::pki_types::CertificateDer;
use hudsucker::rustls::pki_types::pem::PemObject;
use hudsucker::rustls::{ClientConfig, RootCertStore};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [_, port, certificate, key, origins] = &args().collect::<Vec<_>>()[..] else {
        return Err("PORT CA.pem CA-KEY.pem ORIGIN-CA.pem".into());
    };
    let key = KeyPair::from_pem(&read_to_string(key)?)?;
    let issuer = Issuer::from_ca_cert_pem(&read_to_string(certificate)?, key)?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(origins)?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector =
        hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build();
    let proxy = Proxy::builder()
        .with_addr((Ipv4Addr::LOCALHOST, port.parse::<u16>()?).into())
        .with_ca(RcgenAuthority::new(issuer, 1000, aws_lc_rs::default_provider()))
        .with_http_connector(connector)
        .build()?;
    proxy.start().await?;
    Ok(())
}
