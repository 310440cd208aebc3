//! The container's seccomp profile: what Docker's own default allows a process without capabilities, plus what the
//! supervisor needs to raise its walls, minus what no sandbox needs (io_uring, ptrace, clocks, terminals).
//!
//! It holds for everything in the container. The workload runs under a second, stricter filter that the supervisor
//! installs; the kernel obeys whichever refuses more.

use serde_json::{Value, json};

/// What programs use every day. Names that a kernel or architecture lacks are skipped by the engine.
const EVERYDAY: &str = "
    accept accept4 access alarm arch_prctl bind brk cachestat capget capset chdir chmod chown chown32 clock_getres
    clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect
    copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd
    eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod
    fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr
    fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64
    futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64
    getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp
    getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid
    getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init
    inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup
    io_submit ioctl ioprio_get ioprio_set ipc kill lchown lchown32 lgetxattr link linkat listen listmount listxattr
    listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier
    memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 modify_ldt mprotect
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink
    mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat
    _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect
    poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64
    pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg
    remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction
    rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
    rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield select semctl semget semop semtimedop semtimedop_time64 send sendfile
    sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid
    setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid
    setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr
    setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall
    socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range
    sync_file_range2 syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime
    timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
    timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat
    utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev riscv_flush_icache riscv_hwprobe
    breakpoint cacheflush set_tls";

/// What the supervisor needs beyond that: namespaces and their filesystem view, its own Landlock and seccomp walls with
/// the notifications of the latter, and the callers' sockets and memory.
const SUPERVISOR: &str = "
    clone clone3 unshare mount umount2 pivot_root mount_setattr sethostname
    landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp
    pidfd_getfd process_vm_readv kcmp";

/// `errno` of a call that the kernel lacks, on the architectures named below.
const ENOSYS: u32 = 38;

/// The profile, as the engine's `seccomp=` option takes it.
pub(super) fn profile() -> String {
    let argument = |value: u32, op: &str| json!([{ "index": 0, "value": value, "op": op }]);
    let allow = |names: Value, args: Value| json!({ "names": names, "action": "SCMP_ACT_ALLOW", "args": args });
    let mut calls = vec![
        allow(names(EVERYDAY), json!([])),
        allow(names(SUPERVISOR), json!([])),
        // AF_VSOCK leaves every network namespace.
        allow(json!(["socket"]), argument(40, "SCMP_CMP_NE")),
        // As a kernel without it says, so that programs fall back.
        json!({ "names": ["io_uring_setup"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS }),
    ];
    // Linux, Linux with 32-bit addresses, the same two as `uname26`, and asking without changing.
    for personality in [0, 0x0008, 0x0002_0000, 0x0002_0008, 0xffff_ffff] {
        calls.push(allow(json!(["personality"]), argument(personality, "SCMP_CMP_EQ")));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        // Without the secondary ones a 32-bit call would kill the caller instead of failing.
        "archMap": [
            { "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] },
            { "architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"] },
        ],
        "syscalls": calls,
    })
    .to_string()
}

fn names(list: &str) -> Value {
    list.split_ascii_whitespace().collect()
}
