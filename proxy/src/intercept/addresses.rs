//! Socket addresses as a caller wrote them, and what they mean in a namespace of loopback only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Longest socket address (`struct sockaddr_storage`).
pub(super) const LONGEST: usize = 128;

/// The second address of the sandbox's loopback interface.
const DUMMY: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// A destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    Inet(SocketAddr),
    /// Another family, or none: the kernel deals with it, and can't lead it anywhere but home.
    Local,
    /// Too short for its family: `EINVAL`.
    Malformed,
}

impl Destination {
    /// Parses a `struct sockaddr`.
    pub fn parse(bytes: &[u8]) -> Self {
        let Some(family) = bytes.first_chunk::<2>() else { return Self::Malformed };
        let port = || bytes.get(2..4).map(|port| u16::from_be_bytes([port[0], port[1]]));
        match i32::from(u16::from_ne_bytes(*family)) {
            libc::AF_INET if bytes.len() >= 16 => {
                let ip = bytes[4..8].first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets));
                ip.zip(port()).map_or(Self::Malformed, |(ip, port)| Self::Inet((ip, port).into()))
            }
            // Without the scope id (24 bytes) it is still valid: RFC 2133.
            libc::AF_INET6 if bytes.len() >= 24 => {
                let ip = bytes[8..24].first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets));
                let address = ip.zip(port()).map(|(ip, port)| SocketAddrV6::new(ip, port, 0, 0));
                address.map_or(Self::Malformed, |address| Self::Inet(address.into()))
            }
            libc::AF_INET | libc::AF_INET6 => Self::Malformed,
            _ => Self::Local,
        }
    }
}

/// Whether it stays on the sandbox's own loopback interface. The unspecified address means this host.
pub(super) fn is_home(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || ip.is_unspecified() || ip == DUMMY
}

/// Whether it is the proxy's own address: what a program uses that was told of a proxy.
pub(super) fn is_proxy(address: SocketAddr, proxy_port: u16) -> bool {
    let ip = address.ip().to_canonical();
    let ours = ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST || ip.is_unspecified();
    ours && address.port() == proxy_port
}
