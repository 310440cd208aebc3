//! Somebody whose credentials hold, and where they came from.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;
use openshell_api::user::{Role, Via, WhoAmI};

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// An address.
    Address(IpAddr),
    /// The socket for supervisors in containers.
    Container,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Container => f.write_str("a container"),
        }
    }
}

impl Source {
    /// Who stands behind a reverse proxy: the last hop in `X-Forwarded-For` that is none of `proxies`. Whatever the header says is
    /// believed only of a peer that is one of them, and no further than the chain of them goes.
    pub fn behind(self, headers: &HeaderMap, proxies: &[IpNet]) -> Self {
        let Self::Address(peer) = self else { return self };
        let ours = |address: IpAddr| proxies.iter().any(|proxy| proxy.contains(&address.to_canonical()));
        if !ours(peer) {
            return self;
        }
        let fields: Vec<&str> =
            headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).collect();
        let mut nearest = peer;
        for hop in fields.iter().flat_map(|field| field.split(',')).rev() {
            let Ok(address) = hop.trim().parse::<IpAddr>() else { break };
            nearest = address;
            if !ours(address) {
                break;
            }
        }
        Self::Address(nearest)
    }
}

/// A user who has proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its name: of a user of this gateway, or `oidc:…`, `access:…`. No name of one kind can be a name of another.
    pub user: String,
    /// What it may do.
    pub role: Role,
    /// How that is known.
    pub via: Via,
    /// When the proof ends.
    pub expires: Option<jiff::Timestamp>,
    /// Id of the gateway's token that was shown.
    pub token: Option<String>,
    /// From where.
    pub source: Source,
}

impl Caller {
    /// As the API says it.
    pub fn whoami(&self) -> WhoAmI {
        WhoAmI { user: self.user.clone(), role: self.role, via: self.via, expires: self.expires }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_addresses_are_believed_of_proxies_alone() {
        let proxies: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let check = |peer: &str, forwarded: &[&str], expected: &str| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            let found = Source::Address(peer.parse().unwrap()).behind(&headers, &proxies);
            assert_eq!(found, Source::Address(expected.parse().unwrap()), "{peer} {forwarded:?}");
        };
        check("192.0.2.1", &["198.51.100.7"], "192.0.2.1");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &["203.0.113.9, 198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &["198.51.100.7, 10.0.0.2"], "198.51.100.7");
        check("10.0.0.1", &["203.0.113.9", "198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &["203.0.113.9, nonsense"], "10.0.0.1");
        check("2001:db8::1", &["198.51.100.7"], "198.51.100.7");
        assert_eq!(Source::Container.behind(&HeaderMap::new(), &proxies), Source::Container);
    }
}
