//! System calls that the standard library lacks. Every function here is safe to call: `unsafe` stays inside, and each
//! block says why it holds.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg, sendmsg,
    socketpair,
};

/// Turns `-1` into the thread's `errno`.
pub(super) fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// A pair of connected sockets that keep message boundaries and report the other end's death. Closed on exec.
pub(super) fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

pub(super) fn send_packet(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    loop {
        match sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one packet and its descriptors (closed on exec). Length 0: the other end is gone.
pub(super) fn receive_packet(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    most_fds: usize,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    // SAFETY: CMSG_SPACE only computes.
    let mut space = vec![0u8; unsafe { libc::CMSG_SPACE((most_fds * size_of::<RawFd>()) as u32) } as usize];
    loop {
        let mut slices = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Ok(message) => message,
            Err(nix::errno::Errno::EINTR) => continue,
            Err(nix::errno::Errno::ECONNRESET) => return Ok((0, Vec::new())),
            Err(error) => return Err(error.into()),
        };
        let mut fds = Vec::new();
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = part {
                // SAFETY: the kernel just installed these descriptors for us; nobody else knows their numbers.
                fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        if message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "truncated packet on the control socket"));
        }
        return Ok((message.bytes, fds));
    }
}

/// Ends a connection in both directions, for every holder of the descriptor.
pub(super) fn shutdown(socket: BorrowedFd<'_>) {
    // The only failure is a connection that has ended already.
    let _ = nix::sys::socket::shutdown(socket.as_raw_fd(), nix::sys::socket::Shutdown::Both);
}

pub(super) fn memfd(name: &CStr) -> io::Result<File> {
    // SAFETY: `name` is a valid C string for the duration of the call.
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) }.into())?;
    // SAFETY: a fresh descriptor that nobody else knows.
    Ok(unsafe { File::from_raw_fd(fd as RawFd) })
}

pub(super) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(nix::unistd::read(fd, buffer)?)
}

pub(super) fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(nix::unistd::write(fd, bytes)?)
}

pub(super) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Registers a descriptor with the runtime.
pub(super) fn watch(fd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd always answers the same open descriptor, which lives as long as it does.
    unsafe { tokio::io::unix::AsyncFd::register(fd) }.map_err(|refused| refused.into_parts().1)
}

pub(super) fn set_terminal_size(fd: BorrowedFd<'_>, columns: u16, rows: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize, which outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &size) }.into())?;
    Ok(())
}

/// Closes every descriptor from `first` on. For a fresh process only: nothing may own one of them.
pub(super) fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: plain numbers; the caller is a process that has opened nothing yet.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) })?;
    Ok(())
}

/// Closes every descriptor but these and the standard streams. For a process that will never use the others, nor drop
/// what owns them.
pub(super) fn close_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<RawFd> = kept.iter().map(|fd| fd.as_raw_fd()).filter(|fd| *fd > 2).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if fd > first {
            // SAFETY: plain numbers; the caller never uses what is closed here.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) })?;
        }
        first = first.max(fd + 1);
    }
    close_from(first)
}

/// Points the standard streams at `/dev/null`.
pub(super) fn silence() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for stream in 0..=2 {
        // SAFETY: replaces the standard streams, which the standard library never takes to be its own to close.
        check(unsafe { libc::dup2(null.as_raw_fd(), stream) }.into())?;
    }
    Ok(())
}

/// Forks a single-threaded process: 0 in the child.
pub(super) fn fork() -> io::Result<libc::pid_t> {
    // SAFETY: init has one thread, so the child may do everything the parent may.
    Ok(check(unsafe { libc::fork() }.into())? as libc::pid_t)
}

/// `prctl` with plain numbers.
pub(super) fn prctl(option: libc::c_int, argument: libc::c_ulong) -> io::Result<()> {
    // SAFETY: called only with options whose arguments are numbers.
    check(unsafe { libc::prctl(option, argument, 0 as libc::c_ulong, 0 as libc::c_ulong, 0 as libc::c_ulong) }.into())?;
    Ok(())
}

/// Raises the loopback interface and gives it a second address.
///
/// The second one is 192.0.0.8, the "IPv4 dummy address" of RFC 7600: C libraries that are asked only for configured
/// families (`AI_ADDRCONFIG`) don't count 127.0.0.1, and would refuse to resolve anything.
pub(super) fn raise_loopback() -> io::Result<()> {
    let socket = nix::sys::socket::socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let request = |name: &[u8]| {
        // SAFETY: all zeroes is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name) {
            *to = *from as libc::c_char;
        }
        request
    };
    let call = |number: libc::c_ulong, request: &mut libc::ifreq| {
        // SAFETY: each of these requests reads and writes one ifreq, which outlives the call.
        check(unsafe { libc::ioctl(socket.as_raw_fd(), number as _, request) }.into()).map(drop)
    };
    let address = |octets: [u8; 4]| {
        let mut name = request(b"lo:0");
        let inet = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: 0,
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(octets) },
            sin_zero: [0; 8],
        };
        // SAFETY: both are plain data of 16 bytes.
        name.ifr_ifru.ifru_addr = unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(inet) };
        name
    };
    let mut lo = request(b"lo");
    lo.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    call(libc::SIOCSIFFLAGS, &mut lo)?;
    call(libc::SIOCSIFADDR, &mut address([192, 0, 0, 8]))?;
    call(libc::SIOCSIFNETMASK, &mut address([255, 255, 255, 255]))
}

/// Makes everything mounted at and below `path` read-only (or not), without set-uid programs and device nodes.
pub(super) fn restrict_mount(path: &CStr, read_only: bool) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: (if read_only { libc::MOUNT_ATTR_RDONLY } else { 0 })
            | libc::MOUNT_ATTR_NOSUID
            | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: `path` is a C string and `attributes` a mount_attr of the size given; both outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &attributes,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

/// Makes the calling process's standard input its controlling terminal.
pub(super) fn take_terminal() -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) }.into())?;
    Ok(())
}

/// Opens a pseudo terminal of the given devpts: master and slave.
pub(super) fn open_terminal(columns: u16, rows: u16) -> io::Result<(OwnedFd, OwnedFd)> {
    use nix::fcntl::OFlag;
    let master = nix::pty::posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    nix::pty::unlockpt(&master)?;
    // SAFETY: TIOCGPTPEER takes open flags and answers a fresh descriptor.
    let slave = check(
        unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) }
            .into(),
    )?;
    // SAFETY: a fresh descriptor that nobody else knows.
    let slave = unsafe { OwnedFd::from_raw_fd(slave as RawFd) };
    // SAFETY: `into_raw_fd` gives up the only ownership.
    let master = unsafe { OwnedFd::from_raw_fd(std::os::fd::IntoRawFd::into_raw_fd(master)) };
    set_terminal_size(master.as_fd(), columns, rows)?;
    Ok((master, slave))
}

/// Empties every capability set of the calling thread and keeps root from getting any back: bounding, ambient,
/// effective, permitted and inheritable; then the secure bits are locked.
pub(super) fn seal_capability_bounds() -> io::Result<()> {
    // Capabilities are numbered without gaps; the kernel says EINVAL after the last one it knows.
    for capability in 0..=u64::from(u8::MAX) {
        match prctl(libc::PR_CAPBSET_DROP, capability) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && capability > 0 => break,
            Err(error) => return Err(error),
        }
    }
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong)?;
    const NOROOT_AND_LOCKED: libc::c_ulong = 0b11;
    const NO_SETUID_FIXUP_LOCKED: libc::c_ulong = 1 << 3;
    const KEEP_CAPS_LOCKED: libc::c_ulong = 1 << 5;
    const NO_AMBIENT_RAISE_AND_LOCKED: libc::c_ulong = 0b11 << 6;
    prctl(
        libc::PR_SET_SECUREBITS,
        NOROOT_AND_LOCKED | NO_SETUID_FIXUP_LOCKED | KEEP_CAPS_LOCKED | NO_AMBIENT_RAISE_AND_LOCKED,
    )
}

/// Empties the effective, permitted and inheritable sets.
pub(super) fn drop_capabilities() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    /// `_LINUX_CAPABILITY_VERSION_3`, which has two words per set.
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let sets = [[0u32; 3]; 2];
    // SAFETY: `header` and `sets` have the layout of version 3 and outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &header, &sets) })?;
    Ok(())
}

/// Installs a seccomp filter on the calling (only) thread; answers the descriptor of its notifications.
pub(super) fn install_filter(program: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    /// Since Linux 5.19: a caught call is interrupted by fatal signals only, once we have seen it.
    const WAIT_KILLABLE: libc::c_ulong = 1 << 5;
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    let install = |flags: libc::c_ulong| {
        // SAFETY: the kernel copies `program`, which points to `length` instructions and outlives the call.
        check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &program) })
    };
    let fd = install(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | WAIT_KILLABLE)
        .or_else(|_| install(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER))?;
    // SAFETY: a fresh descriptor that nobody else knows; the kernel sets close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Makes the inherited control socket the only open descriptor beside the standard streams; `/dev/null` takes its
/// number. For a fresh process only.
pub(super) fn take_control_socket(fd: RawFd) -> io::Result<OwnedFd> {
    const KEPT: RawFd = 3;
    // SAFETY: plain numbers; the process owns nothing yet, and `fd` was passed to it for this.
    let socket = unsafe { check(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, KEPT).into())? as RawFd };
    if socket != KEPT {
        // SAFETY: as above; descriptor 3, if open, was inherited by accident.
        check(unsafe { libc::dup3(socket, KEPT, libc::O_CLOEXEC) }.into())?;
    }
    close_from(KEPT + 1)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: replaces a standard stream, which nothing in this process uses.
    check(unsafe { libc::dup2(null.as_raw_fd(), fd) }.into())?;
    // SAFETY: nothing else owns descriptor 3.
    Ok(unsafe { OwnedFd::from_raw_fd(KEPT) })
}

/// SIGKILL when the thread that forked us ends. Survives no change of user, so each process arms its own.
pub(super) fn die_with_parent() -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)
}

/// Waits for one child; its exit code, or 1.
pub(super) fn wait_for(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    loop {
        // SAFETY: `status` outlives the call.
        match check(unsafe { libc::waitpid(pid, &mut status, 0) }.into()) {
            Ok(_) if libc::WIFEXITED(status) => return libc::WEXITSTATUS(status),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return 1,
        }
    }
}

/// Reaps one ended child, if there is one: its process id and raw status.
pub(super) fn reap() -> io::Result<Option<(libc::pid_t, i32)>> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    match check(unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) }.into()) {
        Ok(0) => Ok(None),
        Ok(pid) => Ok(Some((pid as libc::pid_t, status))),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Signals a process group; one that has ended, or a number that is no signal, changes nothing.
pub(super) fn signal_group(leader: libc::pid_t, signal: i32) {
    if leader > 1 {
        // SAFETY: plain numbers.
        unsafe { libc::kill(-leader, signal) };
    }
}

/// Runs `prepare` in the forked child, before it executes.
pub(super) fn before_exec(
    command: &mut std::process::Command,
    prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: init has one thread, so its forked child may allocate and call anything.
    unsafe { command.pre_exec(prepare) };
}

/// Lets as many connections wait for `accept` as the kernel allows.
pub(super) fn deepen_backlog(listener: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::listen(listener.as_raw_fd(), 4096) }.into())?;
    Ok(())
}

/// Makes three descriptors the standard streams. For a forked child only, which executes nothing.
pub(super) fn become_stdio(stdio: [OwnedFd; 3]) -> io::Result<()> {
    // Above the standard streams first, so that none is closed before it is copied.
    let [stdin, stdout, stderr] = stdio;
    for (fd, number) in [(stdin, 0), (stdout, 1), (stderr, 2)] {
        // SAFETY: replaces a standard stream, which nothing in this process owns; `fd` is above 2 and closed after.
        check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into())?;
    }
    Ok(())
}

/// Lets every signal through again. For a forked child of init.
pub(super) fn unblock_signals() -> io::Result<()> {
    Ok(nix::sys::signal::SigSet::all().thread_unblock()?)
}

/// Takes a signal for nothing. For a forked child of init.
pub(super) fn ignore(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: installs no function.
    match unsafe { libc::signal(signal, libc::SIG_IGN) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Standard output without the standard library's line buffer.
pub(super) fn standard_output() -> File {
    // SAFETY: for a process that uses its standard output here alone.
    unsafe { File::from_raw_fd(1) }
}

/// Ends the process without running anything of the parent's that was copied.
pub(super) fn exit_at_once(code: i32) -> ! {
    // SAFETY: never returns.
    unsafe { libc::_exit(code) }
}
