//! The filter that every process of a sandbox runs under, as classic BPF.
//!
//! It hands outgoing connections to the supervisor and refuses what could go around it or reach the host's kernel
//! where only administrators do. It denies a list rather than allows one: programs keep working on kernels newer than
//! this file, and what a new call could reach is still behind an empty network namespace and no capabilities.

use libc::{c_long, sock_filter};

mod assembler;
#[cfg(test)]
mod tests;

use assembler::Assembler;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Allow,
    /// Ask the supervisor.
    Notify,
    /// Fail with this `errno`.
    Fail(i32),
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;

/// Bit that marks the x32 ABI's calls on x86-64.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// All `CLONE_NEW*` bits; `CLONE_NEWTIME` shares its value with a signal number in `clone`, so it is `unshare`'s alone.
const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;
const CLONE_NEWTIME: u32 = 0x80;

/// Calls that no workload needs and that reach beyond it.
const REFUSED: &[c_long] = &[
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    // Other processes' memory and descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // The kernel itself.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // Keys are not namespaced.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Clocks.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// Calls that programs probe for and do without: the answer is that this kernel lacks them.
const ABSENT: &[c_long] = &[
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Its flags lie in memory, where no filter can read them; C libraries fall back to `clone`.
    libc::SYS_clone3,
];

/// Whether a call came by the entry point whose table this program knows.
pub(crate) fn is_native(architecture: u32, number: i64) -> bool {
    #[cfg(target_arch = "x86_64")]
    if number as u32 >= X32 {
        return false;
    }
    let _ = number;
    architecture == ARCHITECTURE
}

/// The filter.
pub(super) fn program() -> Vec<sock_filter> {
    let mut asm = Assembler::default();
    asm.load_architecture();
    asm.unless_any(&[ARCHITECTURE], Action::Notify);
    asm.load_number();
    #[cfg(target_arch = "x86_64")]
    asm.if_at_least(X32, Action::Notify);
    // The busiest first.
    asm.call(libc::SYS_sendto, |asm| {
        asm.load_argument(3);
        asm.if_any_bit(libc::MSG_FASTOPEN as u32, Action::Notify);
        asm.load_argument(4);
        asm.unless_any(&[0], Action::Notify);
        asm.load_argument_high(4);
        asm.unless_any(&[0], Action::Notify);
        asm.answer(Action::Allow);
    });
    asm.call(libc::SYS_sendmsg, |asm| {
        asm.load_argument(2);
        asm.if_any_bit(libc::MSG_FASTOPEN as u32, Action::Notify);
        asm.answer(Action::Allow);
    });
    asm.call(libc::SYS_sendmmsg, |asm| {
        asm.load_argument(3);
        asm.if_any_bit(libc::MSG_FASTOPEN as u32, Action::Fail(libc::EOPNOTSUPP));
        asm.answer(Action::Allow);
    });
    asm.call(libc::SYS_connect, |asm| asm.answer(Action::Notify));
    asm.call(libc::SYS_socket, socket);
    asm.call(libc::SYS_ioctl, |asm| {
        asm.load_argument(1);
        // Typing into a terminal that someone else reads.
        asm.if_any(&[libc::TIOCSTI as u32, libc::TIOCLINUX as u32], Action::Fail(libc::EPERM));
        asm.answer(Action::Allow);
    });
    asm.call(libc::SYS_clone, |asm| {
        asm.load_argument(0);
        asm.if_any_bit(NEW_NAMESPACES, Action::Fail(libc::EPERM));
        asm.answer(Action::Allow);
    });
    asm.call(libc::SYS_unshare, |asm| {
        asm.load_argument(0);
        asm.if_any_bit(NEW_NAMESPACES | CLONE_NEWTIME, Action::Fail(libc::EPERM));
        asm.answer(Action::Allow);
    });
    // A connection made through a ring is never seen by seccomp: refused, and told.
    asm.call(libc::SYS_io_uring_setup, |asm| asm.answer(Action::Notify));
    asm.if_any(&numbers(ABSENT), Action::Fail(libc::ENOSYS));
    asm.if_any(&numbers(REFUSED), Action::Fail(libc::EPERM));
    asm.answer(Action::Allow);
    asm.finish()
}

/// Which sockets may exist: local ones, TCP and UDP, and the kernel's tables of interfaces and routes. Everything
/// else (packet and raw, which the supervisor refuses and records; vsock, which leaves every network namespace, crypto …) does not.
fn socket(asm: &mut Assembler) {
    asm.load_argument(0);
    asm.if_any(&[libc::AF_UNIX as u32], Action::Allow);
    asm.if_any(&[libc::AF_PACKET as u32], Action::Notify);
    asm.when(libc::AF_NETLINK as u32, |asm| {
        asm.load_argument(2);
        asm.if_any(&[libc::NETLINK_ROUTE as u32], Action::Allow);
        asm.answer(Action::Fail(libc::EPROTONOSUPPORT));
    });
    asm.unless_any(&[libc::AF_INET as u32, libc::AF_INET6 as u32], Action::Fail(libc::EAFNOSUPPORT));
    asm.load_argument(1);
    asm.mask(0xf);
    asm.if_any(&[libc::SOCK_RAW as u32], Action::Notify);
    asm.unless_any(&[libc::SOCK_STREAM as u32, libc::SOCK_DGRAM as u32], Action::Fail(libc::ESOCKTNOSUPPORT));
    asm.load_argument(2);
    asm.unless_any(&[0, libc::IPPROTO_TCP as u32, libc::IPPROTO_UDP as u32], Action::Fail(libc::EPROTONOSUPPORT));
    asm.answer(Action::Allow);
}

fn numbers(calls: &[c_long]) -> Vec<u32> {
    calls.iter().map(|number| *number as u32).collect()
}
