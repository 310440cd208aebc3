//! The certificates of a gateway: its CA's, that CA's by the one before, and its server's.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

const SERVER_DAYS: i64 = 397;
const CA_DAYS: i64 = 3650;

/// What a CA is called, and for how long. A name of its own tells it from the one before.
pub(super) fn ca_params(of: &KeyPair) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    let key = super::fingerprint(of.public_key_raw());
    params.distinguished_name.push(DnType::CommonName, format!("OpenShell gateway CA {}", &key[..16]));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, CA_DAYS);
    Ok(params)
}

/// A server's, with a key that never touches the disk.
pub(super) fn server(
    issuer: &Issuer<'_, KeyPair>,
    listen: IpAddr,
    called: &[String],
) -> Result<(Certificate, KeyPair), rcgen::Error> {
    let key = KeyPair::generate()?;
    let certificate = server_params(listen, called)?.signed_by(&key, issuer)?;
    Ok((certificate, key))
}

fn server_params(listen: IpAddr, called: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if let Ok(host) = nix::unistd::gethostname() {
        names.extend(host.into_string().ok().filter(|host| !host.is_empty() && host != "localhost"));
    }
    if !listen.is_unspecified() && !names.contains(&listen.to_string()) {
        names.push(listen.to_string());
    }
    for called in called {
        if !names.contains(called) {
            names.push(called.clone());
        }
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
