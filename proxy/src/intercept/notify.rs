//! The seccomp notification descriptor (seccomp_unotify(2)).

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A caught system call. Its thread waits until it is answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notification {
    pub id: u64,
    /// Thread, as numbered in our process namespace.
    pub thread: u32,
    /// Of the table that `architecture` names.
    pub call: i64,
    /// `AUDIT_ARCH_…` of the entry point that was taken.
    pub architecture: u32,
    pub arguments: [u64; 6],
}

/// What the caught call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Return(i64),
    Fail(i32),
    /// The kernel goes on with it, as if it had never been caught.
    Continue,
}

/// How many threads wait at a time. The kernel (since Linux 6.11) wakes all that do, on the caller's processor. Two, not one: where
/// one is behind another program there, the scheduler may still take the other, which makes the slowest of a hundred calls
/// twice as fast on a busy machine.
const WAITING: usize = 2;

pub(super) struct Notifications {
    fd: OwnedFd,
    waiting: [Mutex<()>; WAITING],
}

/// A thread's turn to wait for caught calls. It is kept while a call is answered, which takes less time than waking another
/// thread does, unless more wait.
pub(super) struct Turn<'a> {
    notifications: &'a Notifications,
    waiting: &'a Mutex<()>,
    held: Option<MutexGuard<'a, ()>>,
}

impl Turn<'_> {
    /// Waits for the turn, then for the next caught call; `None` once no process is left that could make one.
    pub fn next(&mut self) -> io::Result<Option<Notification>> {
        let notifications = self.notifications;
        self.held.get_or_insert_with(|| self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let caught = notifications.next()?;
        if notifications.state().is_ok_and(|events| events.contains(PollFlags::POLLIN)) {
            self.pass();
        }
        Ok(caught)
    }

    /// Lets another thread wait: what this one does next may take long.
    pub fn pass(&mut self) {
        self.held = None;
    }
}

impl Notifications {
    pub fn new(fd: OwnedFd) -> Self {
        /// Since Linux 6.6: hands the processor straight over between the two sides.
        const SYNC_WAKE_UP: u64 = 1;
        // SAFETY: this request takes its flags as a number; a kernel without it answers EINVAL, and nothing changes.
        unsafe { libc::ioctl(fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
        Self { fd, waiting: Default::default() }
    }

    /// No turn yet, for the thread of this number.
    pub fn turn(&self, thread: usize) -> Turn<'_> {
        Turn { notifications: self, waiting: &self.waiting[thread % WAITING], held: None }
    }

    /// Before Linux 6.11 the kernel does not tell who waits that the last process is gone: it waits on, and ends with us.
    fn next(&self) -> io::Result<Option<Notification>> {
        loop {
            // SAFETY: all zeroes is a valid seccomp_notif, and what the kernel asks for.
            let mut caught: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            // SAFETY: the kernel fills one seccomp_notif, which outlives the call.
            let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &mut caught) };
            if result == 0 {
                return Ok(Some(Notification {
                    id: caught.id,
                    thread: caught.pid,
                    call: caught.data.nr.into(),
                    architecture: caught.data.arch,
                    arguments: caught.data.args,
                }));
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN) => {}
                // The caller died meanwhile, or it was the last.
                Some(libc::ENOENT) if self.is_over()? => return Ok(None),
                Some(libc::ENOENT) => {}
                _ => return Err(error),
            }
        }
    }

    /// Whether no process is left that could make a call.
    fn is_over(&self) -> io::Result<bool> {
        let events = self.state()?;
        Ok(!events.contains(PollFlags::POLLIN)
            && events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL))
    }

    /// What `poll` says: `POLLIN` where a caught call waits for somebody to take it.
    fn state(&self) -> io::Result<PollFlags> {
        let mut state = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut state, PollTimeout::ZERO) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(state[0].revents().unwrap_or(PollFlags::empty()))
    }

    /// Whether the thread still waits in this very call: what was read about it is then about it.
    pub fn is_valid(&self, id: u64) -> bool {
        // SAFETY: the kernel reads one u64, which outlives the call.
        unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0 }
    }

    /// Lets the thread go on. One that died meanwhile needs no answer.
    pub fn answer(&self, id: u64, answer: Answer) {
        const CONTINUE: u32 = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
        let (val, error, flags) = match answer {
            Answer::Return(value) => (value, 0, 0),
            Answer::Fail(errno) => (0, -errno, 0),
            Answer::Continue => (0, 0, CONTINUE),
        };
        let response = libc::seccomp_notif_resp { id, val, error, flags };
        // SAFETY: the kernel reads one seccomp_notif_resp, which outlives the call.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &response) };
        if result != 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::ENOENT) {
                tracing::warn!(%error, ?answer, "could not answer a caught call");
            }
        }
    }
}
