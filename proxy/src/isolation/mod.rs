//! Walls around the workload.
//!
//! [`Sandbox::seal`] starts an *init* process (this executable again, see [`init::main`]) that becomes PID 1 of fresh
//! namespaces: its network has loopback and nothing else, its filesystem view is built from [`Walls`], a seccomp
//! filter hands every outgoing connection to [`crate::intercept`]. What can't be enforced refuses the start.
//!
//! ```text
//! supervisor (tokio)            guard                     init (PID 1)                workload
//!   seal() ── exec ──────────▶ unshare ── fork ────────▶ mounts, lo, listeners
//!          ◀───────── listeners, DNS sockets, notify fd ─ Landlock, seccomp
//!   spawn() ─────────── argv, stdio ───────────────────▶ fork ── drop ── exec ─────▶ …
//!          ◀──────────────── pid, pty, exit status ────── reaps everything
//! ```
//!
//! Each link kills downwards: the supervisor's death ends guard and init, and with PID 1 the kernel ends all the rest.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use nix::sys::resource::Resource;

mod error;
pub mod first;
pub mod init;
mod keeper;
mod landlock;
mod probe;
mod prove;
mod sandbox;
pub(crate) mod seccomp;
mod spawn;
mod sys;
mod wire;

pub use error::{ProveError, SealError, SpawnError};
pub use prove::Prover;
pub use sandbox::{Sandbox, Seal};
pub use spawn::{Child, ExitStatus, Pty, Signaller, SpawnRequest, Spawner, Stdio};
pub use wire::Task;

/// The hidden first argument that makes this executable an init; `main` must call [`init::main`] when it sees it,
/// before it starts any thread.
pub const INIT_ARGUMENT: &str = "--init";

/// Port of the proxy on the sandbox's loopback.
pub const PROXY_PORT: u16 = 3128;

/// Most that a process of the workload may have (getrlimit(2)), where the supervisor itself is not allowed less:
/// dumped core in bytes, open descriptors, processes and threads of its user, locked memory and queued messages in bytes,
/// real-time and raised priority. The count of processes is the user's own where the sandbox has a user namespace, else
/// that of all sandboxes which run as the same user.
const LIMITS: [(Resource, u64); 7] = [
    (Resource::RLIMIT_CORE, 0),
    (Resource::RLIMIT_NOFILE, 65_536),
    (Resource::RLIMIT_NPROC, 8192),
    (Resource::RLIMIT_MEMLOCK, 8 << 20),
    (Resource::RLIMIT_MSGQUEUE, 1 << 20),
    (Resource::RLIMIT_RTPRIO, 0),
    (Resource::RLIMIT_NICE, 0),
];

/// How to seal a sandbox.
#[derive(Debug, Clone)]
pub struct SealConfig {
    /// The workload's home and default working directory.
    pub workspace: PathBuf,
    /// Whether the workload may write its workspace.
    pub workspace_writable: bool,
    /// Directories that stay invisible even where [`Walls`] would show them, under whatever name: the supervisor's state.
    pub hidden: Vec<PathBuf>,
    /// What the workload may see and write, and as whom it runs.
    pub walls: Walls,
    /// Host name inside.
    pub hostname: String,
    /// Port of the proxy's listeners on `127.0.0.1` and `::1` inside.
    pub proxy_port: u16,
    /// Files that exist only inside.
    pub overlays: Vec<Overlay>,
    /// Walls whose absence is accepted; without an entry here a missing wall refuses the start.
    pub allow_degraded: BTreeSet<Wall>,
    /// How to start init; the descriptor of its control socket (0) is appended.
    pub init: Vec<OsString>,
}

impl SealConfig {
    /// The default walls around `workspace`.
    pub fn new(workspace: impl Into<PathBuf>) -> Self {
        Self {
            workspace: workspace.into(),
            workspace_writable: true,
            hidden: Vec::new(),
            walls: Walls::default(),
            hostname: "sandbox".into(),
            proxy_port: PROXY_PORT,
            overlays: Vec::new(),
            allow_degraded: BTreeSet::new(),
            init: vec!["/proc/self/exe".into(), INIT_ARGUMENT.into()],
        }
    }

    /// Environment every workload starts from: `PATH`, `HOME`, `USER`, `LOGNAME`, `SHELL`, `LANG`, `TMPDIR`.
    pub fn base_environment(&self) -> std::collections::BTreeMap<String, String> {
        let home = self.workspace.to_string_lossy().into_owned();
        let user = init::USER_NAME.to_string();
        [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string()),
            ("HOME", home),
            ("USER", user.clone()),
            ("LOGNAME", user),
            ("SHELL", "/bin/sh".into()),
            ("LANG", "C.UTF-8".into()),
            ("TMPDIR", "/tmp".into()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect()
    }
}

/// What the workload may see and write. Paths that don't exist are skipped, unless `strict`.
///
/// What is listed nowhere does not exist inside: the filesystem view is built from these paths, a private `/tmp`,
/// `/run`, `/proc` and `/dev`, and Landlock holds the same line a second time. A socket of the host's that lies in a listed
/// directory is masked, unless it is listed itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Walls {
    /// Readable and executable. `/` shows the whole filesystem but `/proc`, `/sys`, `/dev`, `/run` and `/tmp`.
    pub read_only: Vec<PathBuf>,
    /// Readable and writable, beside the workspace and the private directories.
    pub read_write: Vec<PathBuf>,
    /// `user` or `user:group`, by name or number, that the workload runs as; absent: the caller's own where it is not root, else
    /// [`init::DEFAULT_UID`]. Root is refused.
    pub user: Option<String>,
    /// Refuse to start when a listed path is missing or the kernel lacks a Landlock right.
    pub strict: bool,
}

impl Walls {
    /// The whole filesystem, read-only: for a container, whose filesystem is the sandbox's own.
    pub fn whole() -> Self {
        Self { read_only: vec!["/".into()], ..Self::default() }
    }
}

impl Default for Walls {
    fn default() -> Self {
        let system = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt"];
        // Not all of `/nix`: beside the programs lies the socket of a daemon that builds whatever it is asked to.
        let read_only = system.into_iter().chain(["/nix/store", "/nix/var/nix/profiles"]);
        Self { read_only: read_only.map(PathBuf::from).collect(), read_write: Vec::new(), user: None, strict: false }
    }
}

/// A file that exists only inside the sandbox, read-only: bound over the one at `path`, or created where `path` lies
/// in a private directory (`/run`, `/tmp`). Refused where neither is possible.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Overlay {
    /// Absolute path inside.
    pub path: PathBuf,
    /// What it holds.
    #[serde(with = "wire::in_base64")]
    pub content: Vec<u8>,
}

/// A wall that may be missing on some kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wall {
    /// Landlock.
    Landlock,
    /// A `/proc` that shows the sandbox's own processes only.
    PrivateProc,
}

impl Wall {
    /// Every wall that may be missing.
    pub const ALL: [Self; 2] = [Self::Landlock, Self::PrivateProc];
}
