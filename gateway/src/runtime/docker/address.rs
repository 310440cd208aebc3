//! Where an engine of another machine is, and what it takes to be let in there.

use std::sync::Arc;

use openshell_api::runtime::EngineTls;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;

const DOCKER_PORT: u16 = 2376;

/// Why an engine can't be reached as it was said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// No URL of an engine.
    #[error("{0:?} is neither tcp://host:port nor ssh://user@host[:port]")]
    Url(String),
    /// An open door.
    #[error("an engine at a tcp address takes TLS: whoever reaches one without can do anything on its machine")]
    NoTls,
    /// Keys where none are of use.
    #[error("an engine behind ssh takes no TLS files: ssh shows who is who")]
    NeedlessTls,
    /// PEM that is none, or a key that does not fit.
    #[error("the {part} can't be used: {reason}")]
    Tls {
        /// Which part.
        part: &'static str,
        /// Why not.
        reason: String,
    },
}

/// An engine's address, with everything that a connection to it takes.
#[derive(Clone)]
pub enum Address {
    /// TLS, where each side proves itself.
    Tls {
        /// `host:port`.
        authority: String,
        /// Whose certificate it must have.
        server: ServerName<'static>,
        /// Trusts one authority, and shows one certificate.
        connector: TlsConnector,
    },
    /// A program of the engine's machine, over the gateway's own `ssh`.
    Ssh {
        /// `[user@]host`.
        destination: String,
        /// Its SSH server's; absent: as the configuration says.
        port: Option<u16>,
    },
}

impl Address {
    /// Understands a URL. Refuses what would reach an engine without a proof of who is who.
    pub fn parse(given: &str, tls: Option<&EngineTls>) -> Result<Self, InvalidAddress> {
        let wrong = || InvalidAddress::Url(given.to_owned());
        let url = url::Url::parse(given).map_err(|_| wrong())?;
        let host = url.host_str().filter(|host| !host.is_empty() && !host.starts_with('-')).ok_or_else(wrong)?;
        let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:[]".contains(c));
        let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if !bare
            || url.password().is_some()
            || !plain(host)
            || !plain(url.username())
            || url.username().starts_with('-')
        {
            return Err(wrong());
        }
        match (url.scheme(), tls) {
            ("tcp", None) => Err(InvalidAddress::NoTls),
            ("tcp", Some(tls)) if url.username().is_empty() => {
                let port = url.port().unwrap_or(DOCKER_PORT);
                let name = host.trim_matches(['[', ']']).to_owned();
                let server = ServerName::try_from(name).map_err(|_| wrong())?;
                Ok(Self::Tls { authority: format!("{host}:{port}"), server, connector: connector(tls)? })
            }
            ("ssh", Some(_)) => Err(InvalidAddress::NeedlessTls),
            ("ssh", None) => {
                let user = url.username();
                let host = host.trim_matches(['[', ']']);
                let destination = if user.is_empty() { host.to_owned() } else { format!("{user}@{host}") };
                Ok(Self::Ssh { destination, port: url.port() })
            }
            _ => Err(wrong()),
        }
    }
}

/// TLS that takes certificates of one authority alone.
fn connector(tls: &EngineTls) -> Result<TlsConnector, InvalidAddress> {
    let refuse =
        |part: &'static str, reason: &dyn std::fmt::Display| InvalidAddress::Tls { part, reason: reason.to_string() };
    let certificates = |part: &'static str, text: &str| -> Result<Vec<CertificateDer<'static>>, InvalidAddress> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        let found = found.map_err(|error| refuse(part, &error))?;
        if found.is_empty() { Err(refuse(part, &"it holds no certificate")) } else { Ok(found) }
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates("authority", &tls.ca)? {
        roots.add(certificate).map_err(|error| refuse("authority", &error))?;
    }
    let key = PrivateKeyDer::from_pem_slice(tls.key.0.as_bytes()).map_err(|_| refuse("key", &"it is no PEM key"))?;
    let chain = certificates("certificate", &tls.certificate)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse("authority", &error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| refuse("key", &error))?;
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use openshell_api::link::Sensitive;

    use super::*;

    fn tls() -> EngineTls {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = rcgen::CertificateParams::new(vec!["engine".into()]).unwrap().self_signed(&key).unwrap().pem();
        EngineTls { ca: pem.clone(), certificate: pem, key: Sensitive(key.serialize_pem()) }
    }

    #[test]
    fn an_engine_is_reached_by_tls_or_ssh_and_not_otherwise() {
        let tls = tls();
        let check = |given: &str, keys: bool, expected: &str| {
            let found = match Address::parse(given, keys.then_some(&tls)) {
                Ok(Address::Tls { authority, server, .. }) => format!("tls {authority} as {}", server.to_str()),
                Ok(Address::Ssh { destination, port }) => format!("ssh {destination} {port:?}"),
                Err(InvalidAddress::Url(_)) => "no url".to_owned(),
                Err(error) => error.to_string().split(':').next().unwrap_or_default().to_owned(),
            };
            assert_eq!(found, expected, "{given}");
        };
        check("tcp://big.example:2377", true, "tls big.example:2377 as big.example");
        check("tcp://10.0.0.5", true, "tls 10.0.0.5:2376 as 10.0.0.5");
        check("tcp://[fd00::5]:1", true, "tls [fd00::5]:1 as fd00::5");
        check("tcp://big.example:2375", false, "an engine at a tcp address takes TLS");
        check("ssh://me@big.example", false, "ssh me@big.example None");
        check("ssh://big:2222/", false, "ssh big Some(2222)");
        check("ssh://me@big", true, "an engine behind ssh takes no TLS files");
        for wrong in [
            "big.example",
            "unix:///var/run/docker.sock",
            "http://big.example:2375",
            "ssh://me@big/path",
            "ssh://me:secret@big",
            "ssh://-oProxyCommand=x",
            "ssh://-x@big",
            "tcp://me@big.example",
            "ssh://",
        ] {
            let keys = wrong.starts_with("tcp");
            check(wrong, keys, "no url");
        }
    }

    #[test]
    fn keys_that_are_none_are_refused_by_their_part() {
        let good = tls();
        let check = |tls: EngineTls, part: &str| match Address::parse("tcp://big", Some(&tls)) {
            Err(InvalidAddress::Tls { part: found, .. }) => assert_eq!(found, part),
            Ok(_) => panic!("{part}: it was taken"),
            Err(other) => panic!("{part}: {other}"),
        };
        check(EngineTls { ca: "none".into(), ..good.clone() }, "authority");
        check(EngineTls { certificate: String::new(), ..good.clone() }, "certificate");
        check(EngineTls { key: Sensitive("none".into()), ..good.clone() }, "key");
        check(EngineTls { key: tls().key, ..good }, "key");
    }
}
