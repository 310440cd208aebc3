//! The supervisor's end of the control socket, kept by one thread that also is init's parent.
//!
//! The kernel sends a parent-death signal when the *thread* that forked ends, so the guard must be forked by a thread
//! that lives as long as the sandbox: this one.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::{Child, Command as Process, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use super::wire::{self, Command, Report, Setup};
use super::{SealConfig, SealError, Wall, sys};

/// Why a program did not start.
pub(super) struct NotStarted {
    /// Whether its working directory can't be entered; else the program can't be executed.
    pub directory: bool,
    pub source: io::Error,
}

type Started = Result<(i32, Option<OwnedFd>), NotStarted>;

/// What a sealed init handed over.
pub(super) struct Handover {
    /// Init's parent.
    pub guard_pid: i32,
    pub init_pid: i32,
    pub uid: u32,
    pub gid: u32,
    pub degraded: Vec<Wall>,
    pub notify: OwnedFd,
    pub dns_udp: OwnedFd,
    pub dns_tcp: OwnedFd,
    pub listeners: Vec<OwnedFd>,
}

/// The control socket of one sandbox and who waits for what.
pub(super) struct Control {
    socket: OwnedFd,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
    ended: watch::Sender<bool>,
}

#[derive(Default)]
struct Waiting {
    started: HashMap<u64, oneshot::Sender<Started>>,
    exited: HashMap<u64, oneshot::Sender<i32>>,
    /// Set once: nothing will be answered any more.
    over: bool,
}

impl Control {
    fn new(socket: OwnedFd) -> Self {
        Self { socket, next: AtomicU64::new(1), waiting: Mutex::default(), ended: watch::Sender::new(false) }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fresh id, and the answers that will come for it.
    pub fn expect(&self) -> (u64, oneshot::Receiver<Started>, oneshot::Receiver<i32>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (started, start) = oneshot::channel();
        let (exited, exit) = oneshot::channel();
        let mut waiting = self.waiting();
        if !waiting.over {
            waiting.started.insert(id, started);
            waiting.exited.insert(id, exited);
        }
        (id, start, exit)
    }

    pub fn forget(&self, id: u64) {
        let mut waiting = self.waiting();
        waiting.started.remove(&id);
        waiting.exited.remove(&id);
    }

    pub fn send(&self, command: &Command, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        wire::send(self.socket.as_fd(), command, fds)
    }

    pub async fn ended(&self) {
        // The sender lives in `self`, so this can't fail before the value is true.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Closes the conversation; init ends itself, and the kernel everything else.
    pub fn kill(&self) {
        sys::shutdown(self.socket.as_fd());
    }

    fn deliver(&self, report: Report, mut fds: Vec<OwnedFd>) {
        let mut waiting = self.waiting();
        match report {
            Report::Spawned { id, pid } => {
                if let Some(started) = waiting.started.remove(&id) {
                    let _ = started.send(Ok((pid, fds.pop())));
                }
            }
            Report::Refused { id, errno, directory } => {
                waiting.exited.remove(&id);
                if let Some(started) = waiting.started.remove(&id) {
                    let _ = started.send(Err(NotStarted { directory, source: io::Error::from_raw_os_error(errno) }));
                }
            }
            Report::Exited { id, status } => {
                if let Some(exited) = waiting.exited.remove(&id) {
                    let _ = exited.send(status);
                }
            }
            other => tracing::warn!(?other, "init sent a message out of order"),
        }
    }

    fn finish(&self) {
        *self.waiting() = Waiting { over: true, ..Waiting::default() };
        self.ended.send_replace(true);
    }
}

/// Starts init on a thread of its own and waits until it is sealed.
pub(super) async fn start(config: SealConfig) -> Result<(Arc<Control>, Handover), SealError> {
    let (answer, sealed) = oneshot::channel();
    std::thread::Builder::new()
        .name("sandbox-keeper".into())
        .spawn(move || keep(config, answer))
        .map_err(SealError::Start)?;
    sealed.await.map_err(|_| SealError::Ended)?
}

fn keep(config: SealConfig, answer: oneshot::Sender<Result<(Arc<Control>, Handover), SealError>>) {
    let (control, mut guard) = match launch(config) {
        Ok(launched) => launched,
        Err(error) => return drop(answer.send(Err(error))),
    };
    let control = Arc::new(control);
    match handshake(&control, guard.id() as i32) {
        Ok(handover) => match answer.send(Ok((control.clone(), handover))) {
            Ok(()) => converse(&control),
            Err(_nobody_waits) => control.kill(),
        },
        Err(error) => {
            control.kill();
            let _ = answer.send(Err(error));
        }
    }
    control.kill();
    let _ = guard.wait();
    control.finish();
}

fn launch(config: SealConfig) -> Result<(Control, Child), SealError> {
    let (ours, theirs) = sys::packet_pair().map_err(SealError::Start)?;
    let (program, arguments) = config.init.split_first().ok_or(SealError::Ended)?;
    let mut command = Process::new(program);
    command.args(arguments).arg("0").env_clear().stdin(theirs).stdout(Stdio::null()).stderr(Stdio::inherit());
    let guard = command.spawn().map_err(SealError::Start)?;
    // The command holds our copy of init's end: while it lives, init's death would go unnoticed.
    drop(command);
    let setup = Setup {
        workspace: config.workspace,
        workspace_writable: config.workspace_writable,
        hidden: config.hidden,
        walls: config.walls,
        hostname: config.hostname,
        proxy_port: config.proxy_port,
        overlays: config.overlays,
        allow_degraded: config.allow_degraded.into_iter().collect(),
    };
    let document = wire::document(&setup).map_err(SealError::Start)?;
    wire::send(ours.as_fd(), &(), &[document.as_fd()]).map_err(|error| match error.raw_os_error() {
        // It is gone already, and the handshake has nothing to receive.
        Some(libc::EPIPE | libc::ECONNRESET) => SealError::Ended,
        _ => SealError::Start(error),
    })?;
    Ok((Control::new(ours), guard))
}

/// Waits until the sandbox is sealed. The guard says that it forked, and init that it has sealed: two processes, so either
/// may be heard first.
fn handshake(control: &Control, guard_pid: i32) -> Result<Handover, SealError> {
    let (mut forked, mut sealed) = (None, None);
    let (init_pid, (uid, gid, degraded), fds) = loop {
        if let Some(pid) = forked
            && let Some((seal, fds)) = sealed.take()
        {
            break (pid, seal, fds);
        }
        let received = wire::receive(control.socket.as_fd()).map_err(|error| SealError::Protocol(error.to_string()))?;
        match received.ok_or(SealError::Ended)? {
            (Report::Forked { pid }, _) => forked = Some(pid),
            (Report::Failed { step, detail }, _) => return Err(SealError::Step { step, detail }),
            (Report::Degraded { wall, detail }, _) => return Err(SealError::Degraded { wall, detail }),
            (Report::Sealed { uid, gid, degraded }, fds) => sealed = Some(((uid, gid, degraded), fds)),
            (other, _) => return Err(SealError::Protocol(format!("{other:?} before the sandbox was sealed"))),
        }
    };
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or_else(|| SealError::Protocol("a descriptor is missing".into()));
    let (notify, dns_udp, dns_tcp, first) = (next()?, next()?, next()?, next()?);
    let listeners = std::iter::once(first).chain(fds).collect();
    Ok(Handover { guard_pid, init_pid, uid, gid, degraded, notify, dns_udp, dns_tcp, listeners })
}

fn converse(control: &Control) {
    loop {
        match wire::receive(control.socket.as_fd()) {
            Ok(Some((report, fds))) => control.deliver(report, fds),
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "the conversation with the sandbox's init broke; ending the sandbox");
                return;
            }
        }
    }
}
