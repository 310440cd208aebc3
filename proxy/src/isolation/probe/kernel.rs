//! Calls that reach beyond the sandbox. Each is made with arguments that a kernel without the wall would answer
//! differently, wherever there are such.

use libc::c_long;
use nix::errno::Errno;

use super::calls::{self, attempt};
use super::{Findings, Targets};

/// Name, call, arguments: all must fail with `EPERM`.
const FORBIDDEN: &[(&str, c_long, [i64; 4])] = &[
    ("ptrace", libc::SYS_ptrace, [libc::PTRACE_ATTACH as i64, INIT, 0, 0]),
    ("read-memory", libc::SYS_process_vm_readv, [INIT, 0, 0, 0]),
    ("write-memory", libc::SYS_process_vm_writev, [INIT, 0, 0, 0]),
    ("take-descriptor", libc::SYS_pidfd_getfd, [-1, 0, 0, 0]),
    ("mount", libc::SYS_mount, [0; 4]),
    ("unmount", libc::SYS_umount2, [0; 4]),
    ("new-filesystem", libc::SYS_fsopen, [0; 4]),
    ("change-root", libc::SYS_chroot, [0; 4]),
    ("user-namespace", libc::SYS_unshare, [libc::CLONE_NEWUSER as i64, 0, 0, 0]),
    ("network-namespace", libc::SYS_unshare, [libc::CLONE_NEWNET as i64, 0, 0, 0]),
    ("enter-namespace", libc::SYS_setns, [-1, 0, 0, 0]),
    ("bpf", libc::SYS_bpf, [0; 4]),
    ("perf-events", libc::SYS_perf_event_open, [0; 4]),
    ("userfaultfd", libc::SYS_userfaultfd, [0; 4]),
    ("keyring", libc::SYS_keyctl, [0, -3, 0, 0]),
    ("kernel-module", libc::SYS_finit_module, [-1, 0, 0, 0]),
    ("kernel-log", libc::SYS_syslog, [-1, 0, 0, 0]),
    ("new-kernel", libc::SYS_kexec_load, [0; 4]),
    ("file-handle", libc::SYS_open_by_handle_at, [-1, 0, 0, 0]),
    ("clock", libc::SYS_clock_settime, [-1, 0, 0, 0]),
    ("terminal-input", libc::SYS_ioctl, [0, libc::TIOCSTI as i64, 0, 0]),
];

/// Process id of the sandbox's init, which holds the walls.
const INIT: i64 = 1;

pub(super) fn run(findings: &mut Findings, targets: &Targets) {
    for (name, call, arguments) in FORBIDDEN {
        findings.refused(name, attempt(*call, *arguments), &[Errno::EPERM]);
    }
    findings.refused("clone-namespace", calls::clone_into_user_namespace(), &[Errno::EPERM]);
    findings.refused("clone3", attempt(libc::SYS_clone3, [0; 4]), &[Errno::ENOSYS]);
    // A filter around the sandbox, as containers have, may refuse it before ours does.
    let refused = [Errno::ENOSYS, Errno::EPERM];
    findings.refused("io-uring", attempt(libc::SYS_io_uring_setup, [1, 0, 0, 0]), &refused);
    foreign_entries(findings);
    signal(findings, targets);
}

/// The other two tables of system calls of an x86-64 kernel.
#[cfg(target_arch = "x86_64")]
fn foreign_entries(findings: &mut Findings) {
    const X32: c_long = 0x4000_0000;
    findings.refused("entry-x32", attempt(X32 + libc::SYS_getpid, [0; 4]), &[Errno::ENOSYS]);
    // A kernel built without it kills whoever tries.
    let (seen, proven) = match calls::apart(|| u8::try_from(-calls::getpid_32()).unwrap_or(0)) {
        Ok(calls::Ended::Returned(code)) if code == libc::ENOSYS => ("ENOSYS".to_owned(), true),
        Ok(calls::Ended::Returned(_)) => ("it succeeded".to_owned(), false),
        Ok(calls::Ended::Killed(signal)) => (signal, true),
        Err(error) => (error.to_string(), false),
    };
    findings.add("entry-32-bit", "ENOSYS, or killed", seen, proven);
}

#[cfg(not(target_arch = "x86_64"))]
fn foreign_entries(_: &mut Findings) {}

/// Processes outside don't exist here. Numbers that are taken inside say nothing about them.
fn signal(findings: &mut Findings, targets: &Targets) {
    let free = |pid: &&i32| !std::path::Path::new(&format!("/proc/{pid}")).exists();
    match targets.host_processes.iter().find(free) {
        Some(pid) => {
            findings.refused("signal-supervisor", attempt(libc::SYS_kill, [i64::from(*pid), 0, 0, 0]), &[Errno::ESRCH])
        }
        None => findings.add("signal-supervisor", "ESRCH", "its process is visible", false),
    }
    findings.because_of(super::Wall::PrivateProc);
}
