//! The gateway's own calls to elsewhere: backends that are tried, providers' keys and tokens.

use std::net::IpAddr;
use std::time::Duration;

use url::Url;
use zeroize::Zeroizing;

use crate::error::{ApiResult, refuse};

/// Longest time for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// A client that trusts the system's CAs and those given (PEM). Follows no redirect: what it sends would follow.
pub fn client(extra_ca: Option<&str>) -> Result<reqwest::Client, reqwest::Error> {
    trusting(extra_ca)?.timeout(PATIENCE).build()
}

/// The same for long bodies: it gives up after such a wait for a connection, and after such a silence.
pub fn patient(
    extra_ca: Option<&str>,
    connect: Duration,
    silence: Duration,
) -> Result<reqwest::Client, reqwest::Error> {
    trusting(extra_ca)?.connect_timeout(connect).read_timeout(silence).build()
}

fn trusting(extra_ca: Option<&str>) -> Result<reqwest::ClientBuilder, reqwest::Error> {
    let native = rustls_native_certs::load_native_certs().certs;
    let mut roots: Vec<_> = native.iter().filter_map(|der| reqwest::Certificate::from_der(der).ok()).collect();
    if let Some(pem) = extra_ca {
        roots.extend(reqwest::Certificate::from_pem_bundle(pem.as_bytes())?);
    }
    Ok(reqwest::Client::builder()
        .tls_certs_only(roots)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("openshell/", env!("CARGO_PKG_VERSION"))))
}

/// An answer's body. Refuses one that breaks off, or is longer than `most` bytes.
pub async fn body(mut answer: reqwest::Response, most: usize) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = answer.chunk().await.map_err(|error| reason(&error))? {
        if body.len() + chunk.len() > most {
            return Err("its answer is too long".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The innermost cause: the outer ones only say that something went wrong.
pub fn reason(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The host of what should be a URL, as [`bare_host`] has it.
pub fn host(url: &str) -> Option<String> {
    bare_host(&Url::parse(url).ok()?).map(str::to_owned)
}

/// A URL's host, an IPv6 address without its brackets.
pub fn bare_host(url: &Url) -> Option<&str> {
    url.host_str().map(|host| host.trim_matches(['[', ']']))
}

/// Refuses a place that others could read along with; `why` none may be.
pub fn check_private(url: &str, why: &str) -> ApiResult<()> {
    match is_private(url) {
        true => Ok(()),
        false => Err(refuse(422, "bad_url", format!("{url:?} is no https URL")).hint(why)),
    }
}

/// Whether what is sent there can't be read or changed on its way: over TLS, or on this machine.
pub fn is_private(url: &str) -> bool {
    let Ok(parsed) = Url::parse(url) else { return false };
    let loopback = match parsed.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(url::Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => return false,
    };
    match parsed.scheme() {
        "https" => true,
        "http" => loopback,
        _ => false,
    }
}
