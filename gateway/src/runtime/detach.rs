//! Lets a child outlive its parent's session. The only unsafe code of the gateway.
#![allow(unsafe_code)]

use std::io;

use tokio::process::Command;

/// The command will run in a session of its own: no terminal's hangup and no signal to the gateway's group reaches it.
pub(super) fn in_own_session(command: &mut Command) -> &mut Command {
    let setsid = || nix::unistd::setsid().map(drop).map_err(io::Error::from);
    // SAFETY: between fork and exec only setsid(2) is called, which is async-signal-safe (signal-safety(7)).
    unsafe { command.pre_exec(setsid) }
}
