//! Runs the filter in a small interpreter: each row is a call and what becomes of it.

use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_USER_NOTIF, c_long, sock_filter};

use super::program;

const NATIVE: u32 = super::ARCHITECTURE;
const I386: u32 = 0x4000_0003;

/// Interprets classic BPF over a `seccomp_data`.
fn run(program: &[sock_filter], data: &[u8; 64]) -> u32 {
    let (mut at, mut accumulator) = (0, 0u32);
    loop {
        let step = &program[at];
        at += 1;
        let branch = |taken: bool| usize::from(if taken { step.jt } else { step.jf });
        match u32::from(step.code) {
            0x20 => {
                let offset = step.k as usize;
                accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
            }
            0x54 => accumulator &= step.k,
            0x15 => at += branch(accumulator == step.k),
            0x35 => at += branch(accumulator >= step.k),
            0x45 => at += branch(accumulator & step.k != 0),
            0x06 => return step.k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn call(architecture: u32, number: c_long, arguments: &[u64]) -> String {
    let mut data = [0; 64];
    data[0..4].copy_from_slice(&(number as u32).to_le_bytes());
    data[4..8].copy_from_slice(&architecture.to_le_bytes());
    for (index, argument) in arguments.iter().enumerate() {
        data[16 + 8 * index..24 + 8 * index].copy_from_slice(&argument.to_le_bytes());
    }
    match run(&program(), &data) {
        SECCOMP_RET_ALLOW => "allow".into(),
        SECCOMP_RET_USER_NOTIF => "notify".into(),
        value if value & !0xffff == SECCOMP_RET_ERRNO => {
            nix::errno::Errno::from_raw((value & 0xffff) as i32).to_string().split(':').next().unwrap().into()
        }
        other => format!("{other:#x}"),
    }
}

#[track_caller]
fn check(number: c_long, arguments: &[u64], expected: &str) {
    assert_eq!(call(NATIVE, number, arguments), expected, "call {number} with {arguments:x?}");
}

#[test]
fn connections_are_the_supervisors() {
    const FASTOPEN: u64 = libc::MSG_FASTOPEN as u64;
    check(libc::SYS_connect, &[3, 0x7fff_0000, 16], "notify");
    check(libc::SYS_sendto, &[3, 1, 1, 0, 0, 0], "allow");
    check(libc::SYS_sendto, &[3, 1, 1, 0, 0x1000, 16], "notify");
    check(libc::SYS_sendto, &[3, 1, 1, 0, 0x1_0000_0000, 16], "notify");
    check(libc::SYS_sendto, &[3, 1, 1, FASTOPEN, 0x1000, 16], "notify");
    check(libc::SYS_sendmsg, &[3, 1, 0], "allow");
    check(libc::SYS_sendmsg, &[3, 1, FASTOPEN], "notify");
    check(libc::SYS_sendmmsg, &[3, 1, 1, 0], "allow");
    check(libc::SYS_sendmmsg, &[3, 1, 1, FASTOPEN], "EOPNOTSUPP");
}

#[test]
fn sockets_are_local_or_tcp_or_udp() {
    let rows: &[(i32, i32, i32, &str)] = &[
        (libc::AF_UNIX, libc::SOCK_STREAM, 0, "allow"),
        (libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0, "allow"),
        (libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_TCP, "allow"),
        (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP, "allow"),
        (libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE, "allow"),
        (libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER, "EPROTONOSUPPORT"),
        (libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP, "notify"),
        (libc::AF_INET6, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0, "notify"),
        (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP, "EPROTONOSUPPORT"),
        (libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP, "EPROTONOSUPPORT"),
        (libc::AF_INET, libc::SOCK_SEQPACKET, 0, "ESOCKTNOSUPPORT"),
        (libc::AF_PACKET, libc::SOCK_RAW, 0, "notify"),
        (libc::AF_VSOCK, libc::SOCK_STREAM, 0, "EAFNOSUPPORT"),
        (libc::AF_ALG, libc::SOCK_SEQPACKET, 0, "EAFNOSUPPORT"),
    ];
    for (family, kind, protocol, expected) in rows {
        check(libc::SYS_socket, &[*family as u64, *kind as u64, *protocol as u64], expected);
    }
}

#[test]
fn the_ways_around_are_closed() {
    check(libc::SYS_io_uring_setup, &[8, 0], "notify");
    check(libc::SYS_io_uring_enter, &[3, 1], "ENOSYS");
    check(libc::SYS_clone3, &[0, 88], "ENOSYS");
    check(libc::SYS_clone, &[libc::SIGCHLD as u64], "allow");
    check(libc::SYS_clone, &[(libc::CLONE_NEWUSER | libc::SIGCHLD) as u64], "EPERM");
    check(libc::SYS_unshare, &[libc::CLONE_FILES as u64], "allow");
    check(libc::SYS_unshare, &[libc::CLONE_NEWNET as u64], "EPERM");
    check(libc::SYS_ioctl, &[0, libc::TIOCGWINSZ], "allow");
    check(libc::SYS_ioctl, &[0, libc::TIOCSTI], "EPERM");
    for number in super::REFUSED {
        check(*number, &[], "EPERM");
    }
    for number in [libc::SYS_read, libc::SYS_execve, libc::SYS_openat, libc::SYS_bind, libc::SYS_accept4] {
        check(number, &[], "allow");
    }
}

#[test]
fn foreign_entry_points_are_the_supervisors_to_refuse() {
    assert!(super::is_native(NATIVE, libc::SYS_connect) && !super::is_native(I386, 102));
    #[cfg(target_arch = "x86_64")]
    assert!(!super::is_native(NATIVE, 0x4000_0000 | libc::SYS_connect));
    // i386's socketcall, which would hide a connect; and any call of theirs.
    assert_eq!(call(I386, 102, &[3, 0]), "notify");
    assert_eq!(call(I386, 20, &[]), "notify");
    #[cfg(target_arch = "x86_64")]
    assert_eq!(call(NATIVE, 0x4000_0000 | libc::SYS_connect, &[]), "notify");
}

#[test]
fn the_kernel_takes_programs_of_this_size() {
    assert!(program().len() < 4096);
}
