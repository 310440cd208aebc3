//! The supervisor's sockets inside the sandbox's network, bound before the workload exists.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};

use crate::isolation::sys;

/// Address of the resolver; C libraries use it even without a `resolv.conf`.
const RESOLVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

pub(super) struct Sockets {
    dns_udp: UdpSocket,
    dns_tcp: TcpListener,
    proxy_v4: TcpListener,
    /// Absent where the kernel has no IPv6.
    proxy_v6: Option<TcpListener>,
}

impl Sockets {
    pub fn bind(proxy_port: u16) -> io::Result<Self> {
        let listen = |address: SocketAddr| {
            let listener = TcpListener::bind(address)?;
            sys::deepen_backlog(listener.as_fd())?;
            Ok::<_, io::Error>(listener)
        };
        let proxy_v6 = match listen((Ipv6Addr::LOCALHOST, proxy_port).into()) {
            Ok(listener) => Some(listener),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT)) => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            dns_udp: UdpSocket::bind(RESOLVER)?,
            dns_tcp: listen(RESOLVER)?,
            proxy_v4: listen((Ipv4Addr::LOCALHOST, proxy_port).into())?,
            proxy_v6,
        })
    }

    /// In the order of [`crate::isolation::wire::Report::Sealed`].
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let fixed = [self.dns_udp.as_fd(), self.dns_tcp.as_fd(), self.proxy_v4.as_fd()];
        fixed.into_iter().chain(self.proxy_v6.iter().map(|listener| listener.as_fd()))
    }
}
