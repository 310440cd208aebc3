//! The system calls that have no safe wrapper, and terminal modes. All `unsafe` of this crate is here.

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use openshell_api::sandbox::WindowSize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::pipe;

/// Makes the command's process the leader of a session of its own, so that no terminal's hang-up reaches it.
pub fn detach(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: the closure runs between fork and exec and calls setsid(2) alone, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(io::Error::from));
    }
}

/// Whether SIGHUP is ignored in this process, as `nohup` starts it.
pub fn ignores_hangup() -> bool {
    let no_action = std::ptr::null();
    let mut now = std::mem::MaybeUninit::<nix::libc::sigaction>::zeroed();
    // SAFETY: without a new action sigaction(2) only writes the present one; zeros are a valid one if it fails.
    let now = unsafe {
        nix::libc::sigaction(nix::libc::SIGHUP, no_action, now.as_mut_ptr());
        now.assume_init()
    };
    now.sa_sigaction == nix::libc::SIG_IGN
}

mod ioctl {
    nix::ioctl_read_bad!(window_size, nix::libc::TIOCGWINSZ, nix::libc::winsize);
}

/// Version of Landlock's interface that this kernel has; nothing where it has none, or it is switched off.
pub fn landlock_abi() -> Option<i64> {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    let no_attributes = std::ptr::null::<nix::libc::c_void>();
    // SAFETY: with a null pointer, size 0 and this flag, landlock_create_ruleset(2) only answers a number.
    let abi = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_landlock_create_ruleset,
            no_attributes,
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    (abi > 0).then_some(abi)
}

/// Whether a process of this user can get network, mount and process namespaces: tries it in a child that does
/// nothing else. With `user`, inside a user namespace of its own.
pub fn can_unshare(user: bool) -> bool {
    use std::os::unix::process::CommandExt as _;
    let mut flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    flags.set(CloneFlags::CLONE_NEWUSER, user);
    let mut child = Command::new("/proc/self/exe");
    child.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: the closure runs between fork and exec and calls unshare(2) alone, which is async-signal-safe.
    unsafe {
        child.pre_exec(move || unshare(flags).map_err(io::Error::from));
    }
    // What unshare(2) refused comes back as an error of starting the child; the child's own end does not matter.
    child.status().is_ok()
}

/// Size of the terminal at standard output, or nothing if there is none.
pub fn window_size() -> Option<WindowSize> {
    use std::os::fd::AsRawFd as _;
    let mut size = nix::libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one `winsize` through the pointer, which is valid for the call.
    unsafe { ioctl::window_size(io::stdout().as_raw_fd(), &raw mut size) }.ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some(WindowSize { rows: size.ws_row, cols: size.ws_col })
}

/// Standard input and output as one stream. Pipes are read and written without a thread in between.
pub fn standard_streams() -> impl AsyncRead + AsyncWrite + Unpin + Send + 'static {
    let input: Box<dyn AsyncRead + Send + Unpin> = match own(io::stdin().as_fd(), pipe::Receiver::from_owned_fd) {
        Ok(pipe) => Box::new(pipe),
        Err(_) => Box::new(tokio::io::stdin()),
    };
    let output: Box<dyn AsyncWrite + Send + Unpin> = match own(io::stdout().as_fd(), pipe::Sender::from_owned_fd) {
        Ok(pipe) => Box::new(pipe),
        Err(_) => Box::new(tokio::io::stdout()),
    };
    tokio::io::join(input, output)
}

fn own<T>(stream: BorrowedFd<'_>, open: impl FnOnce(OwnedFd) -> io::Result<T>) -> io::Result<T> {
    open(stream.try_clone_to_owned()?)
}

/// A changed mode of the terminal at standard input; restores the old mode when dropped.
#[must_use]
pub struct TerminalMode {
    before: Termios,
}

impl TerminalMode {
    /// Passes every key on as it is typed. Refuses when standard input is no terminal.
    pub fn raw() -> io::Result<Self> {
        Self::change(termios::cfmakeraw)
    }

    /// Shows nothing of what is typed. Refuses when standard input is no terminal.
    pub fn no_echo() -> io::Result<Self> {
        Self::change(|mode| {
            mode.local_flags.remove(LocalFlags::ECHO);
            mode.local_flags.insert(LocalFlags::ECHONL);
        })
    }

    fn change(edit: impl FnOnce(&mut Termios)) -> io::Result<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let before = termios::tcgetattr(stdin.as_fd())?;
        let mut mode = before.clone();
        edit(&mut mode);
        termios::tcsetattr(stdin.as_fd(), SetArg::TCSADRAIN, &mode)?;
        Ok(Self { before })
    }
}

impl Drop for TerminalMode {
    fn drop(&mut self) {
        // Nothing better can be done if the terminal is gone.
        let _ = termios::tcsetattr(io::stdin().as_fd(), SetArg::TCSADRAIN, &self.before);
    }
}
