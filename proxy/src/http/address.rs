//! Which addresses a dial may reach: the host's own check, which no policy can skip and only a grant can widen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Why an address is not dialled unless it is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// A cloud's metadata service: only a grant of exactly this address opens it.
    Metadata,
    /// Loopback, private, link-local, carrier-grade NAT, multicast, unspecified, documentation or reserved.
    NotPublic,
}

const METADATA: [IpAddr; 8] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    // Credentials of Amazon's containers, and of pods.
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0023)),
    // Google's, Alibaba's, Azure's.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// Refuses `address` unless it is public, or inside a granted range. An IPv6 address that carries an IPv4 one
/// (mapped, compatible, NAT64, 6to4) is judged as the IPv4 address it ends up at.
pub fn check(address: IpAddr, granted: &[IpNet]) -> Result<(), Forbidden> {
    let effective = embedded(address);
    if METADATA.contains(&effective) {
        let exact = |range: &IpNet| {
            range.prefix_len() == range.max_prefix_len() && (range.addr() == effective || range.addr() == address)
        };
        return if granted.iter().any(exact) { Ok(()) } else { Err(Forbidden::Metadata) };
    }
    let public = match effective {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    };
    if public || granted.iter().any(|range| range.contains(&effective) || range.contains(&address)) {
        Ok(())
    } else {
        Err(Forbidden::NotPublic)
    }
}

/// The IPv4 address inside an IPv6 one, where there is one.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let s = v6.segments();
    let low = || Ipv4Addr::from((u32::from(s[6]) << 16) | u32::from(s[7]));
    let v4 = match s {
        [0, 0, 0, 0, 0, 0xffff, ..] => low(),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => low(),
        [0, 0, 0, 0, 0xffff, 0, ..] => low(),
        [0, 0, 0, 0, 0, 0, high, rest] if high != 0 || rest > 1 => low(),
        [0x2002, high, rest, ..] => Ipv4Addr::from((u32::from(high) << 16) | u32::from(rest)),
        _ => return address,
    };
    IpAddr::V4(v4)
}

fn is_public_v4(a: Ipv4Addr) -> bool {
    let o = a.octets();
    !(o[0] == 0
        || a.is_private()
        || a.is_loopback()
        || a.is_link_local()
        || a.is_documentation()
        || (o[0] == 100 && (o[1] & 0xc0) == 64)
        || (o[0] == 192 && o[1] == 0 && o[2] == 0)
        || (o[0] == 192 && o[1] == 88 && o[2] == 99)
        || (o[0] == 198 && (o[1] & 0xfe) == 18)
        || o[0] >= 224)
}

fn is_public_v6(a: Ipv6Addr) -> bool {
    let s = a.segments();
    // Global unicast is 2000::/3; everything else (loopback, ULA, link-local, multicast, local NAT64 …) is not public.
    (s[0] & 0xe000) == 0x2000
        && !(s[0] == 0x2001 && s[1] < 0x0200)
        && !(s[0] == 0x2001 && s[1] == 0x0db8)
        && !(s[0] == 0x3fff && s[1] < 0x1000)
}
