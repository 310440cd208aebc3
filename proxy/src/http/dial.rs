//! Opens connections: resolves once, checks each address, connects to exactly the address that was checked.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::address::{self, Forbidden};
use super::destination::HostPort;
use super::names::Names;
use super::permit::Permit;

const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ADDRESSES: usize = 8;

/// Dials what a [`Permit`] permits.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    add_hosts: BTreeMap<String, IpAddr>,
    names: Names,
}

/// A connected upstream.
#[derive(Debug)]
pub struct Upstream {
    /// The connection, with TCP_NODELAY.
    pub stream: TcpStream,
    /// The address that was checked and connected to.
    pub address: SocketAddr,
}

/// Why nothing was dialled, or nothing answered. Source: the host (`Forbidden`), the resolver, the upstream.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DialError {
    /// Every address the name has is out of bounds.
    #[error("{host} is at {address}, which is not a public address and was not granted")]
    Forbidden {
        /// The name.
        host: String,
        /// The first address that was refused.
        address: IpAddr,
        /// Why.
        why: Forbidden,
    },
    /// The name has no address.
    #[error("{host} could not be resolved: {detail}")]
    Unresolved {
        /// The name.
        host: String,
        /// The resolver's words.
        detail: String,
    },
    /// No address accepted the connection.
    #[error("{destination} could not be reached: {detail}")]
    Unreachable {
        /// `host:port`.
        destination: String,
        /// The last address's error.
        detail: String,
    },
    /// Resolving or connecting took too long.
    #[error("{destination} did not answer in time")]
    TimedOut {
        /// `host:port`.
        destination: String,
    },
}

impl Dialer {
    /// A dialer that resolves names in `add_hosts` to the fixed address given there, the rest by DNS. An
    /// address of `add_hosts` is checked like any other.
    pub fn new(add_hosts: BTreeMap<String, IpAddr>) -> Self {
        Self { add_hosts, names: Names::default() }
    }

    /// Dials once per address, in the resolver's order. Refuses addresses that are not public unless the permit
    /// grants them; a refused address is never connected to.
    pub async fn dial(&self, permit: &Permit) -> Result<Upstream, DialError> {
        let (host, port) = (permit.host(), permit.port());
        let destination = || HostPort(host, port).to_string();
        let addresses = self.resolve(host, port).await?;
        let mut refused = None;
        let mut failure = None;
        for address in addresses.into_iter().take(MAX_ADDRESSES) {
            if let Err(why) = address::check(address.ip(), permit.private_ranges()) {
                refused.get_or_insert((address.ip(), why));
                continue;
            }
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true).map_err(|error| unreachable(destination(), &error))?;
                    return Ok(Upstream { stream, address });
                }
                Ok(Err(error)) => failure = Some(unreachable(destination(), &error)),
                Err(_) => failure = Some(DialError::TimedOut { destination: destination() }),
            }
        }
        Err(match (failure, refused) {
            (Some(failure), _) => failure,
            (None, Some((address, why))) => DialError::Forbidden { host: host.to_owned(), address, why },
            (None, None) => DialError::Unresolved { host: host.to_owned(), detail: "it has no address".to_owned() },
        })
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
        if let Some(&address) = self.add_hosts.get(host) {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        match timeout(RESOLVE_TIMEOUT, self.names.resolve(host)).await {
            Ok(Ok(found)) => Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect()),
            Ok(Err(detail)) => Err(DialError::Unresolved { host: host.to_owned(), detail }),
            Err(_) => Err(DialError::TimedOut { destination: HostPort(host, port).to_string() }),
        }
    }
}

fn unreachable(destination: String, error: &io::Error) -> DialError {
    DialError::Unreachable { destination, detail: error.to_string() }
}
