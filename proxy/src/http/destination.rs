//! Names as the rest of the proxy sees them: parsed once, lowercase, without trailing dot or brackets.

use std::fmt;
use std::net::IpAddr;

/// A host and, where the text had one, a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Lowercase DNS name without trailing dot, or an IP address without brackets.
    pub host: String,
    /// Port, if it was written.
    pub port: Option<u16>,
}

/// Why a text is no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a host with an optional port")]
pub struct InvalidDestination {
    /// The text that was refused.
    pub given: String,
}

impl Destination {
    /// Parses `host`, `host:port`, `[v6]` or `[v6]:port`. Refuses user information, empty and overlong hosts and any
    /// character that is not part of a DNS name or an address.
    pub fn parse(given: &str) -> Result<Self, InvalidDestination> {
        Self::read(given).ok_or_else(|| InvalidDestination { given: given.chars().take(300).collect() })
    }

    fn read(given: &str) -> Option<Self> {
        let (host, port) = if let Some(rest) = given.strip_prefix('[') {
            let (inside, after) = rest.split_once(']')?;
            inside.parse::<std::net::Ipv6Addr>().ok()?;
            match after {
                "" => (inside, None),
                _ => (inside, Some(after.strip_prefix(':')?)),
            }
        } else {
            match given.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (given, None),
            }
        };
        let port = match port {
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|&port: &u16| port != 0)?)
            }
            Some(_) => return None,
            None => None,
        };
        Some(Self { host: canonical_host(host)?, port })
    }
}

/// A host in the one form everything is compared in: an IPv4 address that is written as an IPv6 one is an IPv4 address. Refuses
/// what is neither a DNS name nor an address.
pub fn canonical_host(given: &str) -> Option<String> {
    if let Ok(address) = given.parse::<IpAddr>() {
        return Some(address.to_canonical().to_string());
    }
    let host = given.strip_suffix('.').unwrap_or(given);
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if host.is_empty() || host.len() > 253 || !host.split('.').all(label) || resembles_v4(host) {
        return None;
    }
    Some(host.to_ascii_lowercase())
}

/// `127.1`, `0x7f.1` and `2130706433` are IPv4 addresses to getaddrinfo(3), so they may not pass as names.
fn resembles_v4(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    last.bytes().all(|b| b.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .or_else(|| last.strip_prefix("0X"))
            .is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// `host:port`, with brackets around an IPv6 address.
pub struct HostPort<'a>(pub &'a str, pub u16);

impl fmt::Display for HostPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]:{}", self.0, self.1) } else { write!(f, "{}:{}", self.0, self.1) }
    }
}
