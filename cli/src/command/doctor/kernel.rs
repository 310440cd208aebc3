//! What the kernel offers for walls.

use super::Check;
use crate::sys;

/// Landlock's ABI of Linux 6.2: the first that can forbid truncation.
const LANDLOCK_GOOD: i64 = 3;

/// All checks of the kernel.
pub fn checks() -> Vec<Check> {
    vec![release(), landlock(), seccomp(), namespaces()]
}

fn release() -> Check {
    match std::fs::read_to_string("/proc/sys/kernel/osrelease") {
        Ok(release) => Check::ok("kernel", format!("Linux {}", release.trim())),
        Err(error) => Check::fail("kernel", format!("its release can't be read: {error}"), "is /proc mounted?"),
    }
}

fn landlock() -> Check {
    const NAME: &str = "landlock";
    const HINT: &str = "file rules need Linux 5.13 or newer with `landlock` in the boot parameter lsm=";
    match sys::landlock_abi() {
        Some(abi @ LANDLOCK_GOOD..) => Check::ok(NAME, format!("ABI {abi}")),
        Some(abi) => Check::warn(NAME, format!("ABI {abi}: some rights can't be enforced"), "use Linux 6.2 or newer"),
        None => Check::warn(NAME, "not offered by this kernel", HINT),
    }
}

fn seccomp() -> Check {
    const NAME: &str = "seccomp";
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if actions.split_whitespace().any(|action| action == "user_notif") {
        Check::ok(NAME, "filters with user notification")
    } else if actions.is_empty() {
        Check::fail(NAME, "not offered by this kernel", "use a kernel built with CONFIG_SECCOMP_FILTER")
    } else {
        Check::warn(NAME, "filters without user notification", "use Linux 5.0 or newer")
    }
}

/// Tries it: reading settings would miss AppArmor, seccomp profiles and limits.
fn namespaces() -> Check {
    const NAME: &str = "namespaces";
    if sys::can_unshare(false) {
        return Check::ok(NAME, "network, mount and process namespaces, with this user's privileges");
    }
    if sys::can_unshare(true) {
        return Check::ok(NAME, "network, mount and process namespaces, inside a user namespace");
    }
    Check::fail(
        NAME,
        "this user can't make network namespaces",
        "run the gateway as root, or allow user namespaces: `sysctl user.max_user_namespaces`, \
         `kernel.unprivileged_userns_clone=1`, `kernel.apparmor_restrict_unprivileged_userns=0`",
    )
}
