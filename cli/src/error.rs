//! What can go wrong, as a fact and a hint.

mod gateway;
mod hints;
mod trust;

use std::io;
use std::path::PathBuf;

use openshell_api::Problem;
use openshell_policy_host::CheckError;

use crate::output;
pub use gateway::GatewayError;
use hints::{POLICY_HINT, files_hint, hint_for};
pub use trust::TrustError;

/// Why a command did not do what was asked. `Display` states the fact; [`Error::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no endpoint file, so no gateway was started here.
    #[error("no gateway is running")]
    NoGateway {
        /// Where its endpoint file would be.
        endpoint: PathBuf,
    },
    /// The endpoint file says where the gateway is, but nothing answers there.
    #[error("the gateway at {url} does not answer: {reason}")]
    Unreachable {
        /// Its URL.
        url: String,
        /// What the transport said.
        reason: String,
    },
    /// The gateway's certificate was not issued by an authority that it may have one from.
    #[error("the certificate of {url} is not trusted: {reason}")]
    Untrusted {
        /// Its URL.
        url: String,
        /// What TLS said.
        reason: String,
    },
    /// The gateway refused or failed, in its own words.
    #[error("{0}")]
    Refused(#[from] Problem),
    /// The gateway answered something this version does not understand.
    #[error("the gateway's answer to {request} is not understood: {reason}")]
    Answer {
        /// Method and path.
        request: String,
        /// What did not fit.
        reason: String,
    },
    /// The endpoint file is damaged.
    #[error("{} is not a gateway's endpoint file: {reason}", path.display())]
    Endpoint {
        /// The file.
        path: PathBuf,
        /// What did not parse.
        reason: String,
    },
    /// The gateways that this user knows.
    #[error("{0}")]
    Gateway(#[from] GatewayError),
    /// The gateway's program is nowhere.
    #[error("the program openshell-gateway is neither beside this one nor in PATH")]
    NoGatewayProgram,
    /// The gateway ended while starting.
    #[error("the gateway ended while starting ({status})")]
    GatewayEnded {
        /// How.
        status: String,
        /// Last lines of its log.
        log_tail: String,
        /// Its log.
        log: PathBuf,
    },
    /// The gateway did not become healthy.
    #[error("the gateway did not answer within {seconds} seconds of starting")]
    GatewaySlow {
        /// How long was waited.
        seconds: u64,
        /// Its log.
        log: PathBuf,
    },
    /// The pid in the endpoint file belongs to something else.
    #[error("process {pid} is not the gateway: it runs {found}")]
    NotTheGateway {
        /// The pid.
        pid: u32,
        /// Its executable.
        found: String,
    },
    /// The gateway took the signal but goes on.
    #[error("the gateway (pid {pid}) did not stop within {seconds} seconds")]
    StillRunning {
        /// The pid.
        pid: u32,
        /// How long was waited.
        seconds: u64,
    },
    /// The gateway answers at a URL; only the machine it runs on can stop it.
    #[error("the gateway at {url} was not started by this state directory")]
    NotLocal {
        /// Its URL.
        url: String,
    },
    /// The sandbox did not reach `running`.
    #[error("sandbox {name} failed to start: {reason}")]
    SandboxFailed {
        /// Sandbox.
        name: String,
        /// Why, in the supervisor's words.
        reason: String,
    },
    /// A wall of the sandbox did not hold.
    #[error("the walls of sandbox {name} are not proven: {failed}")]
    NotProven {
        /// Sandbox.
        name: String,
        /// Checks that failed.
        failed: String,
    },
    /// The sandbox was deleted while a command waited for it.
    #[error("sandbox {name} was deleted")]
    SandboxGone {
        /// Sandbox.
        name: String,
    },
    /// A workload ended, and its log did not.
    #[error("the workload of sandbox {name} ended ({}), and the end of its log did not arrive", code.map_or("exit code unknown".into(), |code| format!("exit code {code}")))]
    LogEnd {
        /// Sandbox.
        name: String,
        /// The workload's exit code.
        code: Option<i32>,
    },
    /// A command in a sandbox could not run.
    #[error("cannot run {program} in sandbox {sandbox}: {reason}")]
    Exec {
        /// Sandbox.
        sandbox: String,
        /// Program.
        program: String,
        /// Why.
        reason: String,
    },
    /// The connection that carried a command's output broke.
    #[error("the connection to the gateway broke while the command ran: {reason}")]
    ExecBroken {
        /// Why.
        reason: String,
    },
    /// A command that was to be taken up again is over.
    #[error("the command can't be taken up again: {reason}")]
    SessionOver {
        /// Why, in the sandbox's words.
        reason: String,
    },
    /// A signal ended it.
    #[error("interrupted: {done}")]
    Interrupted {
        /// What is left of it.
        done: &'static str,
    },
    /// Files did not go over, as this machine says.
    #[error("{0}")]
    Files(#[from] openshell_transfer::TransferError),
    /// Files did not go over, as the sandbox says.
    #[error("the sandbox says: {reason}")]
    Transfer {
        /// Its words.
        reason: String,
    },
    /// A connection into a sandbox failed.
    #[error("{reason}")]
    Forward {
        /// Why.
        reason: String,
    },
    /// `--tty` without a terminal.
    #[error("standard input is not a terminal")]
    NotATerminal,
    /// A policy could not be built.
    #[error("{0}")]
    Build(#[from] openshell_policy_build::BuildError),
    /// A component is not a policy this system runs.
    #[error("{} is not a policy: {reason}", path.display())]
    NotAPolicy {
        /// The component.
        path: PathBuf,
        /// Why.
        reason: CheckError,
    },
    /// A file is larger than any component may be; it was not read.
    #[error("{} has {}; the limit of a component is {}", path.display(), output::bytes(*found), output::bytes(*limit))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size, in bytes.
        found: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A policy does not say which settings it takes.
    #[error("{} does not tell the schema of its settings: {reason}", path.display())]
    NoSchema {
        /// The component.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A policy could not be baked or compiled.
    #[error("the policy can't be compiled: {reason}")]
    NotCompiled {
        /// Why.
        reason: openshell_policy_host::CompileError,
    },
    /// The engine on this machine did not do its part.
    #[error("the policy engine failed: {reason}")]
    Workbench {
        /// Why.
        reason: String,
    },
    /// There are no questions to ask.
    #[error("there are no cases for {}", path.display())]
    NoCases {
        /// The policy.
        path: PathBuf,
    },
    /// A file of cases can't be used.
    #[error("{}: {reason}", path.display())]
    Cases {
        /// The file, and where in it.
        path: PathBuf,
        /// What is wrong there.
        reason: String,
    },
    /// A policy that depends on more than what was recorded.
    #[error("{name} counts or tells the time, so recorded decisions can't be asked again")]
    NotPure {
        /// The policy.
        name: String,
    },
    /// A sandbox that did nothing yet.
    #[error("sandbox {sandbox} did nothing yet that a rule could allow")]
    NothingSeen {
        /// The sandbox.
        sandbox: String,
    },
    /// A registry refused, or holds something else.
    #[error("{place}: {reason}")]
    Registry {
        /// `oci://…`.
        place: String,
        /// Why.
        reason: String,
    },
    /// A question that the policy has no hook for.
    #[error("the policy has no hook that answers `{question}`")]
    NoHookFor {
        /// The question.
        question: String,
    },
    /// A name derived from a file or directory is not one.
    #[error(
        "{given:?} can't be the policy's name: names are 1–63 characters of a-z, 0-9 and '-', and start and end with a letter or digit"
    )]
    BadName {
        /// What was derived.
        given: String,
    },
    /// A directory's name can't be a crate's.
    #[error("{given:?} can't be a crate's name")]
    BadCrateName {
        /// What was given.
        given: String,
    },
    /// Something is in the way.
    #[error("{} already exists and is not empty", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// The source is neither crate nor component.
    #[error("{} is neither a policy crate nor a .wasm component", path.display())]
    NoSource {
        /// The path.
        path: PathBuf,
    },
    /// `--settings` is not JSON.
    #[error("the settings in {origin} are not JSON: {reason}")]
    Settings {
        /// `--settings`, or the file.
        origin: String,
        /// Where it stops being JSON.
        reason: String,
    },
    /// Keys, signatures and consent.
    #[error(transparent)]
    Trust(TrustError),
    /// A provider's secret could not be read.
    #[error("{0}")]
    Secret(SecretError),
    /// What should be explained is no inference request.
    #[error("what {origin} holds is no inference request: {reason}")]
    NotARequest {
        /// Where it came from.
        origin: String,
        /// Why not; repeats nothing of it.
        reason: String,
    },
    /// A sandbox has no router.
    #[error("sandbox {sandbox} has no router")]
    NoRouter {
        /// The sandbox.
        sandbox: String,
    },
    /// A router can't be asked.
    #[error("router {name} can't be asked: {reason}")]
    Router {
        /// Its name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A file holds no list of backends.
    #[error("{} holds no list of backends: {reason}", path.display())]
    Catalogue {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// No binding `rules` on the sandbox.
    #[error("this gateway has no module named {name}")]
    NoModule {
        /// The module.
        name: String,
    },
    /// OpenSSH has no way into a sandbox.
    #[error("{0}")]
    Ssh(#[from] crate::command::SshError),
    /// There is no place for state or data.
    #[error("neither {variable} nor HOME says where to keep files")]
    NoHome {
        /// The variable.
        variable: String,
    },
    /// The operating system refused.
    #[error("can't {doing}: {source}")]
    Io {
        /// What was attempted: `read ./x`.
        doing: String,
        /// Why not.
        source: io::Error,
    },
}

/// Why a secret could not be read. Never holds any of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set.
    #[error("the environment variable {0} is not set")]
    VariableUnset(String),
    /// The secret is empty.
    #[error("the secret is empty")]
    Empty,
    /// The secret has a line end or another control character in it.
    #[error("the secret contains a line end or another control character")]
    ControlCharacter,
    /// The secret is not text.
    #[error("the secret is not UTF-8 text")]
    NotText,
}

impl Error {
    /// A closure for `map_err` that says what was attempted.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoGateway { endpoint } => {
                format!("start one with `openshell gateway start` (looked for {})", endpoint.display())
            }
            Self::Unreachable { .. } => {
                "see `openshell gateway status`; start it with `openshell gateway start`".into()
            }
            Self::Untrusted { .. } => {
                "another program may listen there; a private authority is named with `openshell gateway add --ca FILE`"
                    .into()
            }
            Self::Refused(problem) => return hint_for(&problem.code).map(Into::into).or_else(|| problem.hint.clone()),
            Self::Answer { .. } => "are gateway and command line of the same version? see `openshell status`".into(),
            Self::Endpoint { .. } => "stop the gateway, remove the file, and start it again".into(),
            Self::Gateway(error) => return error.hint(),
            Self::NoGatewayProgram => "install openshell-gateway beside openshell, or add its directory to PATH".into(),
            Self::GatewayEnded { log_tail, log, .. } if log_tail.is_empty() => format!("see {}", log.display()),
            Self::GatewayEnded { log_tail, log, .. } => format!("its last words in {}:\n{log_tail}", log.display()),
            Self::GatewaySlow { log, .. } => format!("see {}", log.display()),
            Self::NotTheGateway { .. } => "the gateway is gone; `openshell gateway start` starts a new one".into(),
            Self::StillRunning { pid, .. } => {
                format!("end it with `kill -9 {pid}`; acknowledged state is safe on disk")
            }
            Self::NotLocal { .. } => "stop it on the machine it runs on".into(),
            Self::SandboxFailed { name, .. } => format!("see `openshell sandbox logs {name}` and `openshell doctor`"),
            Self::LogEnd { name, .. } => format!("see `openshell sandbox logs {name}`; its disk may be full"),
            Self::NotProven { name, .. } => {
                format!("what runs there is not contained: delete it with `openshell sandbox delete {name}`")
            }
            Self::SandboxGone { .. } => "list what exists with `openshell sandbox list`".into(),
            Self::Exec { sandbox, program, .. } => {
                format!(
                    "is it installed there? `openshell sandbox exec {sandbox} -- sh -c 'command -v {program}'` tells"
                )
            }
            Self::ExecBroken { .. } => "the command may still run; see `openshell sandbox logs`".into(),
            Self::SessionOver { .. } => {
                "start it again; for long work, use `nohup` or a terminal multiplexer in it".into()
            }
            Self::Files(error) => return files_hint(error).map(Into::into),
            Self::Interrupted { .. } => "run it again".into(),
            Self::Transfer { .. } => "paths in a sandbox are absolute, or start at its working directory".into(),
            Self::Forward { .. } => "does the program in the sandbox listen on 127.0.0.1 or 0.0.0.0?".into(),
            Self::NotATerminal => "leave out --tty when input is piped".into(),
            Self::Build(error) => return error.hint(),
            Self::NotAPolicy { reason, .. } => reason.hint().unwrap_or(POLICY_HINT).into(),
            Self::TooLarge { .. } => "strip debug information, as `openshell policy build` does".into(),
            Self::NoSchema { .. } => "its `configure.schema` must answer a JSON document without trapping".into(),
            Self::NotCompiled { .. } => "give it the settings it asks for; see `openshell policy inspect`".into(),
            Self::Workbench { .. } => "see `openshell doctor`".into(),
            Self::NoCases { .. } => {
                "write questions and answers into cases.yaml, as `openshell policy new` does".into()
            }
            Self::Cases { .. } => "`openshell policy new` writes a cases.yaml that shows the form".into(),
            Self::NotPure { .. } => "push it with --shadow instead: it is asked live, and not obeyed".into(),
            Self::NothingSeen { sandbox } => {
                format!("run something in it: `openshell sandbox exec {sandbox} -- …`; see `openshell decisions`")
            }
            Self::Registry { .. } => {
                "references are oci://host[:port]/repository[:tag]; `docker login` keeps passwords where they are found"
                    .into()
            }
            Self::NoHookFor { .. } => "`openshell policy inspect` lists its hooks".into(),
            Self::BadName { .. } => "choose one with --name".into(),
            Self::BadCrateName { .. } => {
                "use a-z, 0-9 and '-', beginning with a letter, and no word of the language".into()
            }
            Self::Exists { .. } => "choose another directory".into(),
            Self::NoSource { .. } => "write a crate with `openshell policy new`, or name a built component".into(),
            Self::Settings { .. } => "give a JSON document, or the path of a file that holds one".into(),
            Self::Secret(SecretError::VariableUnset(_)) => "export it first, or use --from-file".into(),
            Self::Secret(_) => "give the bare secret on one line".into(),
            Self::NotARequest { .. } => "give the JSON body of a request, or {\"url\", \"headers\", \"body\"}".into(),
            Self::NoRouter { .. } => {
                "add a backend with `openshell inference backend add`: that binds the built-in one".into()
            }
            Self::Router { .. } => "see `openshell policy inspect`, and the settings it takes".into(),
            Self::Catalogue { .. } => "`openshell inference backend list -o json` prints one".into(),
            Self::NoModule { .. } => "upgrade the gateway: the module is built into it".into(),
            Self::Ssh(error) => error.hint(),
            Self::Trust(error) => return error.hint(),
            Self::NoHome { .. } => "set HOME to an absolute path".into(),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "check the path".into(),
                io::ErrorKind::PermissionDenied => "check who owns it, and its mode".into(),
                io::ErrorKind::StorageFull => "free some space".into(),
                _ => return None,
            },
        })
    }

    /// The exit code: 1 for whatever failed or was refused, 130 as shells have it for what was interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted { .. } => 130,
            _ => 1,
        }
    }

    /// Whether the reader of our output went away, which is no error of ours.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}
