//! What the process is, and what it could become.

use std::io;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::{Findings, Targets, said};
use crate::isolation::LIMITS;

pub(super) fn run(findings: &mut Findings, targets: &Targets) {
    let status = std::fs::read_to_string("/proc/self/status");
    let status = Status(&status);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        status.check(findings, &format!("capabilities-{}", set[3..].to_lowercase()), set, "0000000000000000");
    }
    status.check(findings, "no-new-privileges", "NoNewPrivs", "1");
    status.check(findings, "seccomp", "Seccomp", "2");
    let four = |id: u32| [id; 4].map(|id| id.to_string()).join(" ");
    status.check(findings, "user", "Uid", &four(targets.uid));
    status.check(findings, "group", "Gid", &four(targets.gid));

    // Inside a user namespace there is no root to become.
    let never = [Errno::EPERM, Errno::EINVAL];
    let (root, wheel) = (Uid::from_raw(0), Gid::from_raw(0));
    findings.refused("become-root", setresuid(root, root, root).map_err(io::Error::from), &never);
    findings.refused("become-root-group", setresgid(wheel, wheel, wheel).map_err(io::Error::from), &never);
    findings.refused("join-groups", setgroups(&[wheel]).map_err(io::Error::from), &[Errno::EPERM]);

    let limit = getrlimit(Resource::RLIMIT_CORE);
    let seen = limit.map_or_else(|errno| format!("{errno:?}"), |(soft, hard)| format!("{soft}, at most {hard}"));
    findings.add("core-dumps", "0, at most 0", seen, limit == Ok((0, 0)));
    limits(findings);
}

/// Every limit is there, and none can be lifted.
fn limits(findings: &mut Findings) {
    let mut lifted = Vec::new();
    for (resource, most) in LIMITS {
        match getrlimit(resource) {
            Ok((soft, hard)) if hard <= most && soft <= hard => match setrlimit(resource, soft, hard + 1) {
                Err(Errno::EPERM) => {}
                ended => lifted.push(format!("{resource:?} raised above {hard}: {ended:?}")),
            },
            found => lifted.push(format!("{resource:?} is {found:?}")),
        }
    }
    let seen = if lifted.is_empty() { format!("all {} hold", LIMITS.len()) } else { lifted.join(", ") };
    findings.add("resource-limits", format!("all {} hold", LIMITS.len()), seen, lifted.is_empty());
}

/// `/proc/self/status` (proc_pid_status(5)).
struct Status<'a>(&'a io::Result<String>);

impl Status<'_> {
    fn check(&self, findings: &mut Findings, name: &str, field: &str, expected: &str) {
        let seen = match self.0 {
            Ok(text) => {
                let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
                let words = value.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "));
                words.unwrap_or_else(|| "the kernel does not say".to_owned())
            }
            Err(_) => said(self.0),
        };
        let proven = seen == expected && !(field == "Uid" && expected.starts_with("0 "));
        findings.add(name, expected, seen, proven);
    }
}
