//! Ways out by network.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, sendto, socket};

use super::calls::attempt;
use super::{Findings, Targets, said};

/// Longer than anything here takes that stays on this machine.
const PATIENCE: Duration = Duration::from_secs(3);

/// RFC 5737 and RFC 3849: addresses for documentation, which nobody has.
const NOWHERE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NOWHERE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// Where clouds hand out credentials.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

pub(super) fn run(findings: &mut Findings, targets: &Targets) {
    interfaces(findings);
    for (name, to) in [
        ("dial-v4", SocketAddr::from((NOWHERE_V4, 443))),
        ("dial-v6", SocketAddr::from((NOWHERE_V6, 443))),
        ("metadata", SocketAddr::from((METADATA, 80))),
    ] {
        caught(findings, name, targets, TcpStream::connect_timeout(&to, PATIENCE));
    }
    caught(findings, "fast-open", targets, fast_open((NOWHERE_V4, 443).into()));
    datagrams(findings);
    resolver(findings);
    sockets(findings);
    ours(findings, targets);
}

/// A dial must end at the proxy, wherever it was meant to go.
fn caught(findings: &mut Findings, name: &str, targets: &Targets, dialled: io::Result<TcpStream>) {
    let peer = dialled.and_then(|stream| stream.peer_addr());
    let seen = peer.as_ref().map_or_else(|_| said(&peer), |peer| format!("connected to {peer}"));
    let led = |peer: &SocketAddr| peer.ip().to_canonical().is_loopback() && peer.port() == targets.proxy_port;
    // A kernel without IPv6 has no door to guard there.
    let no_family = matches!(&peer, Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT));
    let expected = format!("led to the proxy at port {}", targets.proxy_port);
    findings.add(name, expected, seen, peer.as_ref().is_ok_and(led) || no_family);
}

/// Connects by sending.
fn fast_open(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let flags = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN) | MsgFlags::MSG_NOSIGNAL;
    sendto(socket.as_raw_fd(), b"\n", &SockaddrStorage::from(to), flags)?;
    Ok(TcpStream::from(socket))
}

/// The namespace has loopback, and no route that leaves it.
fn interfaces(findings: &mut Findings) {
    let names = std::fs::read_to_string("/proc/net/dev").map(|text| {
        let name = |line: &str| line.split_once(':').map(|(name, _)| name.trim().to_owned());
        text.lines().filter_map(name).collect::<Vec<_>>()
    });
    let seen = names.as_ref().map_or_else(|_| said(&names), |names| names.join(", "));
    findings.add("interfaces", "lo", seen, names.is_ok_and(|names| names == ["lo"]));

    let routes = || {
        // The first line of one is a heading; the last column of the other is the interface.
        let v4 = std::fs::read_to_string("/proc/net/route")?;
        let v6 = std::fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
        let v4 = v4.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        let v6 = v6.lines().filter_map(|line| line.split_whitespace().last());
        Ok(v4.chain(v6).filter(|interface| *interface != "lo").map(str::to_owned).collect::<Vec<_>>())
    };
    let routes: io::Result<Vec<String>> = routes();
    let seen = match &routes {
        Ok(routes) if routes.is_empty() => "none".to_owned(),
        Ok(routes) => format!("by {}", routes.join(", ")),
        Err(_) => said(&routes),
    };
    findings.add("routes", "none", seen, routes.is_ok_and(|routes| routes.is_empty()));
}

fn datagrams(findings: &mut Findings) {
    let unreachable = [Errno::ENETUNREACH, Errno::EAFNOSUPPORT];
    let v4 = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    let v6 = || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0));
    findings.refused("udp-v4", v4().and_then(|udp| udp.send_to(b"x", (NOWHERE_V4, 53))), &unreachable);
    findings.refused("udp-v6", v6().and_then(|udp| udp.send_to(b"x", (NOWHERE_V6, 53))), &unreachable);
    findings.refused("quic", v4().and_then(|udp| udp.connect((NOWHERE_V4, 443))), &unreachable);
}

/// The resolver knows every name, and asks nobody.
fn resolver(findings: &mut Findings) {
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in ["proof", "of", "enforcement", "invalid"] {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    let ask = || {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        udp.set_read_timeout(Some(PATIENCE))?;
        udp.send_to(&query, (Ipv4Addr::LOCALHOST, 53))?;
        let mut answer = [0; 512];
        let length = udp.recv(&mut answer)?;
        let address = answer[..length].last_chunk::<4>().copied().unwrap_or_default();
        Ok(Ipv4Addr::from(address))
    };
    let address: io::Result<Ipv4Addr> = ask();
    let seen = address.as_ref().map_or_else(|_| said(&address), |address| address.to_string());
    let synthetic = |address: Ipv4Addr| address.octets()[0] == 198 && address.octets()[1] & 0xfe == 18;
    findings.add("resolver", "an address of 198.18.0.0/15", seen, address.is_ok_and(synthetic));
}

/// Sockets that go around TCP and UDP, or out of the namespace.
fn sockets(findings: &mut Findings) {
    use libc::{
        AF_ALG, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_VSOCK, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_SCTP,
        NETLINK_NETFILTER, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM,
    };
    let (raw, no_protocol, no_family) = ([Errno::EPERM], [Errno::EPROTONOSUPPORT], [Errno::EAFNOSUPPORT]);
    let rows: [(&str, i32, i32, i32, &[Errno]); 9] = [
        ("raw-v4", AF_INET, SOCK_RAW, IPPROTO_ICMP, &raw),
        ("raw-v6", AF_INET6, SOCK_RAW, IPPROTO_ICMPV6, &raw),
        ("packet", AF_PACKET, SOCK_RAW, 0, &raw),
        ("ping", AF_INET, SOCK_DGRAM, IPPROTO_ICMP, &no_protocol),
        ("sctp", AF_INET, SOCK_STREAM, IPPROTO_SCTP, &no_protocol),
        ("netfilter", AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER, &no_protocol),
        ("vsock", AF_VSOCK, SOCK_STREAM, 0, &no_family),
        ("kernel-crypto", AF_ALG, SOCK_SEQPACKET, 0, &no_family),
        ("bluetooth", libc::AF_BLUETOOTH, SOCK_RAW, 0, &no_family),
    ];
    for (name, family, kind, protocol, errnos) in rows {
        let arguments = [family, kind, protocol, 0].map(i64::from);
        findings.refused(name, attempt(libc::SYS_socket, arguments), errnos);
    }
}

/// The supervisor's own sockets, inside and outside.
fn ours(findings: &mut Findings, targets: &Targets) {
    let port = targets.proxy_port;
    caught(findings, "proxy-port", targets, TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), PATIENCE));
    let taken = [Errno::EADDRINUSE];
    findings.refused("proxy-port-takeover", TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)), &taken);
    let taken = [Errno::EADDRINUSE, Errno::EACCES];
    findings.refused("resolver-takeover", UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)), &taken);

    let refused = [Errno::ECONNREFUSED];
    findings.refused("host-loopback", TcpStream::connect_timeout(&targets.host_port, PATIENCE), &refused);
    let refused = [Errno::ECONNREFUSED, Errno::EPERM];
    findings.refused("abstract-socket", dial_abstract(&targets.host_socket), &refused);
    findings.none("host-sockets", targets.sockets.clone(), dial_path);
}

/// Connects to a socket by its path. One of another type is there as well.
fn dial_path(path: &Path) -> io::Result<()> {
    match UnixStream::connect(path) {
        Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => Ok(()),
        dialled => dialled.map(drop),
    }
}

fn dial_abstract(name: &str) -> io::Result<UnixStream> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::SocketAddr;
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)
}
