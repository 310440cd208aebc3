//! The caller's sockets, taken over by descriptor.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use super::taken::Taken;

/// Turns `-1` into the thread's `errno`.
fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// Most threads remembered, by a descriptor each.
pub(super) const KEPT: u64 = 64;
/// Since Linux 6.9: the thread itself, whose table of descriptors may be its own.
const PIDFD_THREAD: libc::c_uint = libc::O_EXCL as libc::c_uint;

/// Takes sockets of threads, and remembers these.
pub(super) struct Takers {
    known: Cache<u32, Arc<OwnedFd>>,
}

impl Default for Takers {
    fn default() -> Self {
        Self { known: Cache::new(KEPT) }
    }
}

impl Takers {
    /// A duplicate of a thread's descriptor.
    pub fn take(&self, thread: u32, fd: RawFd) -> io::Result<Taken> {
        // Of a thread that has ended nothing can be taken: its number may be another's now.
        if let Some(taken) = self.known.get(&thread).and_then(|known| duplicate(&known, fd).ok()) {
            return Ok(taken);
        }
        match open(thread, PIDFD_THREAD) {
            Ok(found) => {
                let taken = duplicate(&found, fd)?;
                self.known.insert(thread, Arc::new(found));
                Ok(taken)
            }
            // Not remembered: the process may go on when the thread has ended.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => duplicate(&open(leader(thread)?, 0)?, fd),
            Err(error) => Err(error),
        }
    }
}

fn duplicate(pidfd: &OwnedFd, fd: RawFd) -> io::Result<Taken> {
    // SAFETY: plain numbers.
    let taken = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) })?;
    // SAFETY: a fresh descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(taken as RawFd) }.into())
}

fn open(id: u32, flags: libc::c_uint) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers.
    let pidfd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, id as libc::pid_t, flags) })?;
    // SAFETY: a fresh descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd as RawFd) })
}

fn leader(thread: u32) -> io::Result<u32> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    line.and_then(|number| number.trim().parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// What a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp { v6: bool },
    Udp,
    Other,
}

/// Fails with `ENOTSOCK` for other descriptors.
pub(super) fn kind(socket: BorrowedFd<'_>) -> io::Result<Kind> {
    let option = |name| integer_option(socket, libc::SOL_SOCKET, name);
    let (domain, kind, protocol) = (option(libc::SO_DOMAIN)?, option(libc::SO_TYPE)?, option(libc::SO_PROTOCOL)?);
    Ok(match (domain, kind, protocol) {
        (libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP) => Kind::Tcp { v6: false },
        (libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_TCP) => Kind::Tcp { v6: true },
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM, _) => Kind::Udp,
        _ => Kind::Other,
    })
}

/// Whether a TCP socket has not begun to connect or listen, or has failed to.
pub(super) fn is_fresh(socket: BorrowedFd<'_>) -> io::Result<bool> {
    /// `TCP_CLOSE` of the kernel's `tcp_states.h`.
    const CLOSED: u8 = 7;
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `info`, which is that long.
    check(unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &mut length)
            .into()
    })?;
    // SAFETY: all zeroes is a valid tcp_info, whatever part of it was written.
    Ok(unsafe { info.assume_init() }.tcpi_state == CLOSED)
}

/// A number that two descriptors share exactly when they are the same socket.
pub(super) fn cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(nix::sys::stat::fstat(socket)?.st_ino)
}

fn integer_option(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `value`, which is that long.
    check(unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &mut length).into() })?;
    Ok(value)
}

/// `connect(2)`, blocking or not as the socket is.
pub(super) fn connect(socket: BorrowedFd<'_>, to: SocketAddr) -> io::Result<()> {
    use nix::sys::socket::{SockaddrStorage, connect};
    Ok(connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?)
}

/// `connect(2)`, blocking or not as the socket is, but no longer than `patience`: `None` where it goes on.
pub(super) fn connect_within(socket: BorrowedFd<'_>, to: SocketAddr, patience: Duration) -> io::Result<Option<()>> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use nix::sys::socket::{getsockopt, setsockopt, sockopt::SendTimeout};
    use nix::sys::time::{TimeVal, TimeValLike as _};
    let own = getsockopt(&socket, SendTimeout)?;
    let patience = TimeVal::milliseconds(i64::try_from(patience.as_millis()).unwrap_or(i64::MAX));
    if own != TimeVal::zero() && own <= patience {
        return connect(socket, to).map(Some);
    }
    // Of sockets that do not block, too: they may be made to between a look and the call.
    setsockopt(&socket, SendTimeout, &patience)?;
    let outcome = connect(socket, to);
    setsockopt(&socket, SendTimeout, &own)?;
    match outcome.as_ref().map_err(io::Error::raw_os_error) {
        Err(Some(libc::EINPROGRESS | libc::EALREADY)) => {
            let flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
            if flags.contains(OFlag::O_NONBLOCK) { outcome.map(Some) } else { Ok(None) }
        }
        _ => outcome.map(Some),
    }
}

/// The socket's own address, in its canonical form.
pub(super) fn local_address(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    use nix::sys::socket::{SockaddrStorage, getsockname};
    let address: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    let v4 = address.as_sockaddr_in().map(|address| SocketAddr::from((address.ip(), address.port())));
    let v6 = address.as_sockaddr_in6().map(|address| SocketAddr::from((address.ip().to_canonical(), address.port())));
    v4.or(v6).ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

/// `send(2)` on a connected socket, as much as it takes at once.
pub(super) fn send(socket: BorrowedFd<'_>, bytes: &[u8], flags: i32) -> io::Result<usize> {
    use nix::sys::socket::{MsgFlags, send};
    Ok(send(
        socket.as_raw_fd(),
        bytes,
        MsgFlags::from_bits_truncate(flags) | MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
    )?)
}
