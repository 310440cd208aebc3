//! Processes by pid *and* start time, so that a pid that was given to another one is never mistaken.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A process of this machine, now or before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    pid: i32,
    /// Clock ticks after boot, field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)).
    start: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    boot: String,
}

impl ProcessId {
    /// The process that has this pid now.
    pub fn of(pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok()?;
        Some(Self { pid, start: start_time(pid)?, boot: boot_id()? })
    }

    /// Whether it still runs. A zombie does not.
    pub fn alive(&self) -> bool {
        start_time(self.pid) == Some(self.start) && boot_id().as_deref() == Some(self.boot.as_str())
    }

    /// Sends a signal to it and, for its session's sake, to its process group. Answers whether it was alive.
    pub fn signal(&self, signal: Signal) -> bool {
        if !self.alive() {
            return false;
        }
        let _ = kill(Pid::from_raw(-self.pid), signal);
        let _ = kill(Pid::from_raw(self.pid), signal);
        true
    }
}

fn boot_id() -> Option<String> {
    Some(std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything, so fields count from the last parenthesis: state is field 3.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

/// The process that was started with exactly these arguments after its name. For supervisors whose gateway died before
/// it wrote their pid down.
pub(super) fn find(arguments: &[&str]) -> Option<ProcessId> {
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let command = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).ok()?;
        let mut found = command.strip_suffix(&[0])?.split(|&byte| byte == 0);
        found.next()?;
        found.eq(arguments.iter().map(|argument| argument.as_bytes())).then(|| ProcessId::of(pid)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_pid_and_start() {
        let own = ProcessId::of(std::process::id()).unwrap();
        assert!(own.alive());
        assert!(!ProcessId { start: own.start + 1, ..own.clone() }.alive());
        assert!(!ProcessId { boot: "another".into(), ..own }.alive());
    }

    #[test]
    fn an_ended_process_is_not_alive_even_as_a_zombie() {
        let mut child = std::process::Command::new("sleep").arg("98765.4321").spawn().unwrap();
        let id = loop {
            if let Some(id) = find(&["98765.4321"]) {
                break id;
            }
        };
        assert!(id.alive());
        assert!(id.signal(Signal::SIGKILL));
        while id.alive() {
            std::thread::yield_now();
        }
        assert!(!id.signal(Signal::SIGKILL));
        child.wait().unwrap();
    }
}
