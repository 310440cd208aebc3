//! Where sandboxes run.

mod choice;
mod detach;
pub mod docker;
mod driver;
mod machine;
mod placement;
mod proc;
pub mod process;

use std::time::Duration;

use openshell_api::launch::LaunchSpec;
use openshell_api::sandbox::{CreateSandbox, RuntimeKind};

use crate::state_dir::StateDirError;

pub use choice::{Reservation, Runtimes, Wanted};
pub use driver::{Driver, Gone, OnNode};
pub use machine::Machine;

/// Why a runtime could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Files of the sandbox.
    #[error(transparent)]
    Files(#[from] StateDirError),
    /// The supervisor's executable is not there.
    #[error("the supervisor's executable {0} does not exist")]
    NoSupervisor(std::path::PathBuf),
    /// The operating system refused.
    #[error("can't {doing}: {source}")]
    System {
        /// What was tried.
        doing: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It would not die.
    #[error("the supervisor of sandbox {0} survived SIGKILL")]
    Unkillable(String),
    /// The sandbox is in a runtime that the gateway does not have.
    #[error("this gateway has no runtime {0}")]
    NoRuntime(String),
    /// Docker.
    #[error(transparent)]
    Docker(#[from] docker::DockerError),
    /// A Swarm.
    #[error(transparent)]
    Swarm(#[from] docker::SwarmError),
}

/// Directories that a launch specification names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The supervisor's own.
    pub state_dir: String,
    /// The workload's.
    pub workspace: String,
}

/// What a sandbox is started with.
#[derive(Clone)]
pub struct Start {
    /// For its supervisor.
    pub launch: LaunchSpec,
    /// What the user asked for.
    pub spec: CreateSandbox,
}

/// Starts, finds and ends supervisors; knows them by the id of their sandbox. A supervisor outlives the gateway that
/// started it. Everything here may be asked again after a crash: what is done already stays done.
///
/// What an implementation owes, whatever it drives (processes, an engine, a scheduler such as Kubernetes):
///
/// - **One supervisor per id.** A second [`start`](Self::start) of a living one is an error or changes nothing. It is never started
///   again by anything but the gateway: restart policies are off, for whoever starts it must give it new credentials.
/// - **The supervisor is first.** It is the first process of its place (`--first-process --launch FILE`) and raises the walls
///   itself; the place gives it user namespaces or the capabilities that they take ([`weaken`](Self::weaken)), and no more.
/// - **Three files get in**, readable by the supervisor alone: the launch file (which names the gateway, its CA and a credential that
///   is good once), the supervisor's executable where the place does not have it, and roots of trust. A start that follows a stop
///   gets a new launch file and finds [`Places::state_dir`] and [`Places::workspace`] as they were.
/// - **A way to the gateway.** A socket that is mounted, or [`LaunchSpec::gateway_url`] over a network. Nothing dials in.
/// - **Everything is labelled** with the gateway's id and the sandbox's, so that [`traces`](Self::traces) finds what a crash left,
///   and nothing of anybody else's.
/// - **Files stay, or it is said that they don't.** Where nothing is kept of a supervisor that ended, [`forgets`](Self::forgets) says so,
///   and nobody stops one there without knowing.
/// - **Ends are told once.** [`wait`](Self::wait) resolves when the supervisor is dead, and never because its machine is silent:
///   what can't be seen is neither alive nor dead, and the caller decides.
///
/// For Kubernetes: a pod per id with `restartPolicy: Never` and a volume for state and workspace, a secret for the launch file, an
/// init container that brings the supervisor, labels and a watch on pods; [`refusal`](Self::refusal) for host paths and networks.
#[async_trait::async_trait]
pub trait Runtime: Send + Sync {
    /// Which one this is.
    fn kind(&self) -> RuntimeKind;

    /// Directories for a new sandbox, as its supervisor will see them. Creates nothing.
    fn places(&self, id: &str) -> Places;

    /// Directories on the supervisor's side that no workload may ever see, whatever a policy says.
    fn hidden(&self) -> Vec<String> {
        Vec::new()
    }

    /// What of a specification this runtime can't honour, in words.
    fn refusal(&self, spec: &CreateSandbox) -> Option<String>;

    /// Why nothing is kept of a supervisor that ended; `None`: it is, for the next start.
    fn forgets(&self) -> Option<&'static str> {
        None
    }

    /// Why nothing is kept of one sandbox that has run here, where the runtime keeps what it made: somebody else removed that. `None`: it
    /// is there.
    async fn missing(&self, _id: &str) -> Result<Option<&'static str>, RuntimeError> {
        Ok(None)
    }

    /// Starts a supervisor; answers as soon as it exists. Everything made so far is left for [`Self::remove`]. One that
    /// was stopped starts again with what it held.
    async fn start(&self, start: &Start) -> Result<(), RuntimeError>;

    /// Starts a supervisor that ended before it ran once more, by weaker means, if it ended for want of them. `false`:
    /// there is nothing else to try. What is then missing shows in [`LaunchSpec::degraded`].
    async fn weaken(&self, _start: &Start) -> Result<bool, RuntimeError> {
        Ok(false)
    }

    /// Whether its supervisor lives.
    async fn alive(&self, id: &str) -> Result<bool, RuntimeError>;

    /// Resolves when its supervisor is dead, at once if it never lived.
    async fn wait(&self, id: &str);

    /// How its supervisor ended, in words, where the runtime knows.
    async fn ending(&self, _id: &str) -> Option<String> {
        None
    }

    /// Ends its supervisor: politely, then after `grace` by force.
    async fn stop(&self, id: &str, grace: Duration) -> Result<(), RuntimeError>;

    /// Removes everything it left. Only after [`Self::stop`].
    async fn remove(&self, id: &str) -> Result<(), RuntimeError>;

    /// The last lines its supervisor wrote for people.
    async fn log_tail(&self, id: &str, lines: usize) -> String;

    /// Ids of the sandboxes that left something.
    async fn traces(&self) -> Result<Vec<String>, RuntimeError>;
}
