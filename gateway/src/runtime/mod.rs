//! Where sandboxes run.

mod detach;
mod proc;
pub mod process;

use std::time::Duration;

use openshell_api::launch::LaunchSpec;
use openshell_api::sandbox::RuntimeKind;

use crate::state_dir::StateDirError;

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
}

/// Directories that a launch specification names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The supervisor's own.
    pub state_dir: String,
    /// The workload's.
    pub workspace: String,
}

/// Starts, finds and ends supervisors; knows them by the id of their sandbox. A supervisor outlives the gateway that
/// started it. Everything here may be asked again after a crash: what is done already stays done.
#[async_trait::async_trait]
pub trait Runtime: Send + Sync {
    /// Which one this is.
    fn kind(&self) -> RuntimeKind;

    /// Directories for a new sandbox, as its supervisor will see them. Creates nothing.
    fn places(&self, id: &str) -> Places;

    /// Starts a supervisor; answers as soon as it exists. Everything made so far is left for [`Self::remove`].
    async fn start(&self, spec: &LaunchSpec) -> Result<(), RuntimeError>;

    /// Whether its supervisor lives.
    async fn alive(&self, id: &str) -> Result<bool, RuntimeError>;

    /// Resolves when its supervisor is dead, at once if it never lived.
    async fn wait(&self, id: &str);

    /// Ends its supervisor: politely, then after `grace` by force.
    async fn stop(&self, id: &str, grace: Duration) -> Result<(), RuntimeError>;

    /// Removes everything it left. Only after [`Self::stop`].
    async fn remove(&self, id: &str) -> Result<(), RuntimeError>;

    /// The last lines its supervisor wrote for people.
    async fn log_tail(&self, id: &str, lines: usize) -> String;

    /// Ids of the sandboxes that left something.
    async fn traces(&self) -> Result<Vec<String>, RuntimeError>;
}
