//! Answers caught calls: leads connections to the proxy, refuses what has no way out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Instant;

use super::addresses::{self, Destination};
use super::late::{Late, Lates, PATIENCE};
use super::notify::{Answer, Notification, Notifications, Turn};
use super::sockets::{self, Kind, Takers};
use super::taken::Taken;
use super::throttle::Throttle;
use super::{Callers, Entrance, Names, Probing, Reason, Refusal, Refusals, fastopen, intended, memory};
use crate::caller::{Attribution, Caller, Intended};
use crate::identity::Identifier;
use crate::isolation::seccomp;

/// Threads that answer. None waits long for a connect: see [`Late`].
const THREADS: usize = 4;
/// From so many connections on that the proxy has not accepted yet, one more may have to wait: its listener holds 4096.
const CROWD: usize = 1024;

/// Everything that answering takes.
pub struct Door {
    notifications: Notifications,
    identifier: Identifier,
    takers: Takers,
    callers: Arc<Callers>,
    lates: Lates,
    names: Arc<Names>,
    refusals: Arc<dyn Refusals>,
    probing: Probing,
    throttle: Throttle,
    /// Port of the proxy on the sandbox's loopback.
    proxy_port: u16,
    /// Where the proxy listens: `127.0.0.1` and, where the kernel has IPv6, `::1`.
    entrances: Vec<Arc<Entrance>>,
}

/// A connection that was made for a caller, or goes on being made, or the `errno` it gets.
pub(super) type Outcome = Result<Option<Late>, i32>;

impl Door {
    /// For one sandbox: `notify` is its seccomp notification descriptor, `listeners` are the proxy's inside, on `127.0.0.1` and, where
    /// the kernel has IPv6, on `::1`.
    pub fn new(
        notify: OwnedFd,
        identifier: Identifier,
        names: Arc<Names>,
        refusals: Arc<dyn Refusals>,
        proxy_port: u16,
        listeners: Vec<OwnedFd>,
    ) -> io::Result<Self> {
        let notifications = Notifications::new(notify);
        let callers = Arc::<Callers>::default();
        let entrance = |listener| Entrance::new(listener, callers.clone()).map(Arc::new);
        let entrances = listeners.into_iter().map(entrance).collect::<io::Result<_>>()?;
        Ok(Self {
            notifications,
            identifier,
            takers: Takers::default(),
            callers,
            lates: Lates::default(),
            names,
            refusals,
            probing: Probing::default(),
            throttle: Throttle::default(),
            proxy_port,
            entrances,
        })
    }

    /// Where the proxy takes in what is led to it.
    pub fn entrances(&self) -> Vec<Arc<Entrance>> {
        self.entrances.clone()
    }

    /// Who is behind the connections that the proxy accepts.
    pub fn callers(&self) -> Arc<Callers> {
        self.callers.clone()
    }

    /// Which process is the probe.
    pub fn probing(&self) -> Probing {
        self.probing.clone()
    }

    /// Starts answering, on threads that end with the sandbox.
    pub fn open(self) -> io::Result<()> {
        let door = Arc::new(self);
        for number in 0..THREADS {
            let door = door.clone();
            std::thread::Builder::new().name(format!("sandbox-door-{number}")).spawn(move || door.attend(number))?;
        }
        Ok(())
    }

    fn attend(self: Arc<Self>, number: usize) {
        let mut turn = self.notifications.turn(number);
        loop {
            match turn.next() {
                Ok(Some(caught)) => {
                    if let Some(answer) = self.decide(&caught, &mut turn) {
                        self.notifications.answer(caught.id, answer);
                    }
                    self.ring();
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "connections of the sandbox can't be answered any more");
                    return;
                }
            }
        }
    }

    /// `None`: the caller is gone, or gets its answer later.
    fn decide(self: &Arc<Self>, caught: &Notification, turn: &mut Turn<'_>) -> Option<Answer> {
        let answer = match caught.call {
            _ if !seccomp::is_native(caught.architecture, caught.call) => {
                self.forbid(caught, turn, Reason::ForeignEntry, libc::ENOSYS)
            }
            libc::SYS_io_uring_setup => self.forbid(caught, turn, Reason::IoUring, libc::ENOSYS),
            libc::SYS_socket if caught.arguments[0] as i32 == libc::AF_PACKET => {
                self.forbid(caught, turn, Reason::PacketSocket, libc::EPERM)
            }
            libc::SYS_socket => self.forbid(caught, turn, Reason::RawSocket, libc::EPERM),
            libc::SYS_connect => self.connect(caught, turn)?,
            libc::SYS_sendto | libc::SYS_sendmsg => fastopen::decide(self, caught, turn),
            _ => Answer::Fail(libc::ENOSYS),
        };
        self.is_current(caught).then_some(answer)
    }

    /// Whether what was read of the caller was really the caller's.
    pub(super) fn is_current(&self, caught: &Notification) -> bool {
        self.notifications.is_valid(caught.id)
    }

    fn connect(self: &Arc<Self>, caught: &Notification, turn: &mut Turn<'_>) -> Option<Answer> {
        let [fd, address, length, ..] = caught.arguments;
        Some(match self.destination(caught.thread, address, length) {
            Err(errno) => Answer::Fail(errno),
            Ok(Destination::Local) => Answer::Continue,
            Ok(Destination::Malformed) => Answer::Fail(libc::EINVAL),
            Ok(Destination::Inet(destination)) if self.stays_home(destination) => Answer::Continue,
            Ok(Destination::Inet(destination)) => match self.take(caught, fd as RawFd) {
                Ok(socket) => match self.lead(caught, turn, socket, destination) {
                    Ok(None) => Answer::Return(0),
                    Ok(Some(late)) => return self.answer_late(caught.id, late, destination),
                    Err(errno) => Answer::Fail(errno),
                },
                Err(errno) => Answer::Fail(errno),
            },
        })
    }

    /// Has a caller answered once its connect has come to something; an answer: it can't be.
    fn answer_late(self: &Arc<Self>, id: u64, late: Late, destination: SocketAddr) -> Option<Answer> {
        let (door, caller) = (Arc::clone(self), late.caller.clone());
        let waits = self.lates.wait(late, move |outcome| {
            let answer = outcome.map_or_else(|error| Answer::Fail(errno_of(&error)), |()| Answer::Return(0));
            door.notifications.answer(id, answer);
            if let (Answer::Fail(errno), Some(caller)) = (answer, caller) {
                door.refuse_failed(caller, destination, errno);
            }
        });
        waits.err().map(|error| Answer::Fail(errno_of(&error)))
    }

    /// The socket that a caller means by a descriptor.
    pub(super) fn take(&self, caught: &Notification, fd: RawFd) -> Result<Taken, i32> {
        self.takers.take(caught.thread, fd).map_err(|error| errno_of(&error))
    }

    /// Reads a destination from the caller's memory.
    pub(super) fn destination(&self, thread: u32, address: u64, length: u64) -> Result<Destination, i32> {
        // The kernel takes an int.
        let length = usize::try_from(length as u32).ok().filter(|length| *length <= addresses::LONGEST);
        let bytes = memory::read_exact(thread, address, length.ok_or(libc::EINVAL)?);
        Ok(Destination::parse(&bytes.map_err(|error| errno_of(&error))?))
    }

    /// Whether the kernel may go on by itself: to the workload's own servers, or the resolver.
    pub(super) fn stays_home(&self, destination: SocketAddr) -> bool {
        addresses::is_home(destination.ip()) && !addresses::is_proxy(destination, self.proxy_port)
    }

    /// Connects the caller's socket to the proxy, and remembers whose it is.
    pub(super) fn lead(
        &self,
        caught: &Notification,
        turn: &mut Turn<'_>,
        socket: Taken,
        destination: SocketAddr,
    ) -> Outcome {
        let v6 = match sockets::kind(socket.as_fd()).map_err(|error| errno_of(&error))? {
            Kind::Tcp { v6 } => v6,
            Kind::Udp if addresses::is_home(destination.ip()) => return Err(libc::ECONNREFUSED),
            Kind::Udp => {
                self.refuse_caught(caught, turn, destination, Reason::Datagram);
                return Err(libc::ENETUNREACH);
            }
            Kind::Other => return Err(libc::EAFNOSUPPORT),
        };
        if !v6 && destination.is_ipv6() {
            return Err(libc::EAFNOSUPPORT);
        }
        if self.probing.is(caught.thread) {
            return self.connect_to_proxy(socket, turn, v6, None);
        }
        let Ok(caller) = self.identify(caught, turn) else {
            self.refuse(None, destination, Reason::UnknownCaller);
            return Err(libc::EACCES);
        };
        if !self.is_current(caught) {
            // It died; what was identified may be someone else.
            return Err(libc::EINTR);
        }
        let explicit = addresses::is_proxy(destination, self.proxy_port);
        let intended = (!explicit).then(|| intended(&self.names, destination));
        let attribution = Attribution { caller: caller.clone(), intended };
        let outcome = self.connect_to_proxy(socket, turn, v6, Some(attribution));
        if let Err(errno) = outcome {
            self.refuse_failed(caller, destination, errno);
        }
        outcome
    }

    /// Without an attribution the proxy will not know whose connection it is, and so refuse it.
    fn connect_to_proxy(
        &self,
        socket: Taken,
        turn: &mut Turn<'_>,
        v6: bool,
        attribution: Option<Attribution>,
    ) -> Outcome {
        let errno = |error: io::Error| errno_of(&error);
        let cookie = sockets::cookie(socket.as_fd()).map_err(errno)?;
        let connecting = self.callers.begin(cookie)?;
        if connecting.others() >= CROWD {
            turn.pass();
        }
        let fresh = sockets::is_fresh(socket.as_fd()).map_err(errno)?;
        let (proxy, entrance) = self.proxy_for(v6);
        let connected = sockets::connect_within(socket.as_fd(), proxy, PATIENCE).map_err(errno);
        entrance.inspect(|entrance| entrance.expect());
        let outcome = match connected {
            Ok(Some(())) => Ok(None),
            Ok(None) => {
                let caller = attribution.as_ref().map(|attribution| Arc::clone(&attribution.caller));
                Ok(Some(Late { socket: socket.try_clone().map_err(errno)?, to: proxy, caller }))
            }
            Err(errno) => Err(errno),
        };
        // A later connect() on the same socket only reports how the first one went.
        if fresh
            && matches!(outcome, Ok(_) | Err(libc::EINPROGRESS))
            && let Some(attribution) = attribution
        {
            let local = sockets::local_address(socket.as_fd()).map_err(errno)?;
            connecting.made(local, socket, attribution);
        }
        outcome
    }

    /// The proxy's address for a socket, and where connections to it arrive.
    fn proxy_for(&self, v6: bool) -> (SocketAddr, Option<&Entrance>) {
        let ip = match (v6, self.entrances.len() > 1) {
            (false, _) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            (true, true) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            (true, false) => IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
        };
        let entrance = if v6 { self.entrances.last() } else { self.entrances.first() };
        (SocketAddr::new(ip, self.proxy_port), entrance.map(|entrance| &**entrance))
    }

    /// Lets the proxy take in what was led there. After the caller's answer, which need not wait for it.
    pub(super) fn ring(&self) {
        self.entrances.iter().for_each(|entrance| entrance.ring());
    }

    fn identify(&self, caught: &Notification, turn: &mut Turn<'_>) -> io::Result<Arc<Caller>> {
        self.identifier.identify(caught.thread, || turn.pass())
    }

    /// Refuses what nobody may do, and tells of it.
    fn forbid(&self, caught: &Notification, turn: &mut Turn<'_>, reason: Reason, errno: i32) -> Answer {
        if !self.probing.is(caught.thread) {
            let nowhere = Intended { host: String::new(), port: 0 };
            self.tell(self.identify(caught, turn).ok(), nowhere, reason);
        }
        Answer::Fail(errno)
    }

    /// Tells that a caught call was refused; not of the probe, whose calls are made to be.
    pub(super) fn refuse_caught(
        &self,
        caught: &Notification,
        turn: &mut Turn<'_>,
        destination: SocketAddr,
        reason: Reason,
    ) {
        if !self.probing.is(caught.thread) {
            self.refuse(self.identify(caught, turn).ok(), destination, reason);
        }
    }

    /// Tells that a connection could not be made, unless the error says that it is being made, or was.
    fn refuse_failed(&self, caller: Arc<Caller>, destination: SocketAddr, errno: i32) {
        if !matches!(errno, libc::EINPROGRESS | libc::EALREADY | libc::EISCONN) {
            self.refuse(Some(caller), destination, Reason::Failed);
        }
    }

    pub(super) fn refuse(&self, caller: Option<Arc<Caller>>, destination: SocketAddr, reason: Reason) {
        self.tell(caller, intended(&self.names, destination), reason);
    }

    fn tell(&self, caller: Option<Arc<Caller>>, destination: Intended, reason: Reason) {
        let mut refusal = Refusal { caller, destination, reason, repeated: 0 };
        if let Some(repeated) = self.throttle.admit(&refusal, Instant::now()) {
            refusal.repeated = repeated;
            self.refusals.refused(refusal);
        }
    }
}

pub(super) fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EACCES)
}
