//! Signals that concern what this process does in a sandbox.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::sys;

/// One that was caught.
#[derive(Debug, Clone, Copy)]
pub enum Caught {
    /// The terminal changed size.
    Resized,
    /// Another one, by its number.
    Number(i32),
}

/// Those that concern what is under way; one that can't be listened for never arrives.
pub struct Signals {
    resized: Option<Signal>,
    interrupted: Option<Signal>,
    terminated: Option<Signal>,
    /// Of the terminal. Who started this with `nohup` wants it ignored.
    hung_up: Option<Signal>,
}

impl Signals {
    /// From now on none is missed.
    pub fn listen() -> Self {
        Self {
            resized: signal(SignalKind::window_change()).ok(),
            interrupted: signal(SignalKind::interrupt()).ok(),
            terminated: signal(SignalKind::terminate()).ok(),
            hung_up: (!sys::ignores_hangup()).then(|| signal(SignalKind::hangup()).ok()).flatten(),
        }
    }

    /// The next one; that the terminal was resized, only with `tty`.
    pub async fn next(&mut self, tty: bool) -> Caught {
        tokio::select! {
            () = arrived(&mut self.resized), if tty => Caught::Resized,
            () = arrived(&mut self.interrupted) => Caught::Number(nix::libc::SIGINT),
            () = arrived(&mut self.terminated) => Caught::Number(nix::libc::SIGTERM),
            () = arrived(&mut self.hung_up) => Caught::Number(nix::libc::SIGHUP),
        }
    }
}

/// The next arrival of a signal; never, if it can't be listened for.
async fn arrived(signal: &mut Option<Signal>) {
    let arrived = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if arrived.is_none() {
        std::future::pending().await
    }
}
