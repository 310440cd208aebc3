//! The system's `ssh`, as the command line and the gateway run it: which program, and what it never brings along.

use std::ffi::OsString;

/// Variable that names another program.
const PROGRAM: &str = "OPENSHELL_SSH";

/// Options (`-o`) that take from a user's configuration what would reach further than a connection has to.
pub const CONFINED: [&str; 7] = [
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "LogLevel=ERROR",
];

/// The program.
pub fn program() -> OsString {
    std::env::var_os(PROGRAM).filter(|program| !program.is_empty()).unwrap_or_else(|| "ssh".into())
}
