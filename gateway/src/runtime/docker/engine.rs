//! The Docker engine: where it is, how it is reached, and what it answers when it refuses.

use std::path::PathBuf;
use std::time::Duration;

use bollard::errors::Error as ApiFailure;
use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::sync::OnceCell;

use super::address::Address;
use super::far::Far;
use super::vitals::Capacity;

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// Longest wait for an answer of the engine, in seconds. Streams may last longer.
const ANSWER_LIMIT_S: u64 = 120;
const PING_LIMIT: Duration = Duration::from_secs(2);
/// The same for an engine of another machine, the first connection included.
const FAR_PING_LIMIT: Duration = Duration::from_secs(12);
/// How long `ssh` may take to say why it gave up.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Why Docker could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// No engine answers there.
    #[error("no Docker engine answers at {host}: {detail}")]
    Unreachable {
        /// Its address.
        host: String,
        /// What was heard instead.
        detail: String,
    },
    /// The image is neither there nor to be had.
    #[error("there is no image {image}, and it can't be pulled: {detail}")]
    NoImage {
        /// Its name.
        image: String,
        /// What the engine said.
        detail: String,
    },
    /// The image names a user that it does not have.
    #[error("image {image} is to run as user {user:?}, whom its /etc/passwd does not name")]
    NoUser {
        /// The image.
        image: String,
        /// Its `USER`.
        user: String,
    },
    /// The engine said no.
    #[error("the Docker engine refused to {doing}: {message}")]
    Refused {
        /// What it was asked to do.
        doing: &'static str,
        /// Its HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// The conversation with the engine failed.
    #[error("can't {doing}: {detail}")]
    Failed {
        /// What was tried.
        doing: &'static str,
        /// What went wrong.
        detail: String,
    },
}

impl DockerError {
    /// Whether the engine answered that there is no such thing.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether the engine answered that the thing is there, or done, already.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }
}

/// Turns a failure of the API into ours.
pub(super) fn failed(doing: &'static str) -> impl FnOnce(ApiFailure) -> DockerError {
    move |error| match error {
        ApiFailure::DockerResponseServerError { status_code, message } => {
            DockerError::Refused { doing, status: status_code, message }
        }
        ApiFailure::DockerStreamError { error } => DockerError::Refused { doing, status: 500, message: error },
        other => DockerError::Failed { doing, detail: chain(&other) },
    }
}

/// An error with its causes: what bollard says alone rarely names the reason.
fn chain(error: &dyn std::error::Error) -> String {
    // What the client is called helps nobody.
    let mut text = error.to_string().trim_start_matches("Error in the hyper legacy client: ").to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// An engine that may or may not be there.
pub(super) struct Engine {
    host: String,
    /// Absent: as `host` says.
    far: Option<Far>,
    client: OnceCell<Docker>,
}

impl Engine {
    /// The engine that `DOCKER_HOST` names, else the system's, else the user's own.
    pub fn find() -> Self {
        let own = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("docker.sock"));
        let host = match std::env::var("DOCKER_HOST") {
            Ok(host) if !host.is_empty() => host,
            _ => match own.filter(|own| own.exists() && !std::path::Path::new(DEFAULT_SOCKET).exists()) {
                Some(own) => format!("unix://{}", own.display()),
                None => format!("unix://{DEFAULT_SOCKET}"),
            },
        };
        Self { host, far: None, client: OnceCell::new() }
    }

    /// An engine of another machine, and what its address is called.
    pub fn at(address: Address, host: String) -> Self {
        Self { host, far: Some(Far::to(address)), client: OnceCell::new() }
    }

    /// Its address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it runs on this machine, so that it can mount our files.
    pub fn is_local(&self) -> bool {
        self.host.starts_with("unix://")
    }

    /// A client that speaks a version which the engine knows. Refuses when it does not answer.
    pub async fn client(&self) -> Result<&Docker, DockerError> {
        self.client.get_or_try_init(|| self.connect()).await
    }

    /// Whether it answers now.
    pub async fn answers(&self) -> bool {
        self.ping().await.is_ok()
    }

    /// Asks for a sign of life. Refuses, with the reason, when there is none within seconds.
    pub async fn ping(&self) -> Result<(), DockerError> {
        self.soon(async { self.client().await?.ping().await.map(drop).map_err(failed("reach the engine")) }).await
    }

    /// Asks how large its machine is; a sign of life as well.
    pub async fn capacity(&self) -> Result<Capacity, DockerError> {
        let ask = async {
            let info = self.client().await?.info().await.map_err(failed("ask the engine about itself"))?;
            let memory = info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default();
            Ok(Capacity { cpus: info.ncpu.unwrap_or_default() as f64, memory })
        };
        self.soon(ask).await
    }

    /// Does what is asked within seconds, or says that the engine is silent; with what `ssh` said, if it gave up.
    pub async fn soon<T>(&self, asked: impl Future<Output = Result<T, DockerError>>) -> Result<T, DockerError> {
        let limit = if self.far.is_some() { FAR_PING_LIMIT } else { PING_LIMIT };
        let silent = || DockerError::Unreachable {
            host: self.host.clone(),
            detail: format!("no answer within {} s", limit.as_secs()),
        };
        let answer = tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| Err(silent()));
        match (answer, &self.far) {
            (Err(DockerError::Failed { detail, .. } | DockerError::Unreachable { detail, .. }), Some(far)) => {
                tokio::time::sleep(LAST_WORDS).await;
                let detail = far.last_words().unwrap_or(detail);
                Err(DockerError::Unreachable { host: self.host.clone(), detail })
            }
            (answer, far) => {
                if let (Ok(_), Some(far)) = (&answer, far) {
                    far.forget_words();
                }
                answer
            }
        }
    }

    async fn connect(&self) -> Result<Docker, DockerError> {
        let unreachable =
            |error: ApiFailure| DockerError::Unreachable { host: self.host.clone(), detail: chain(&error) };
        let docker = match &self.far {
            Some(far) => far.client(ANSWER_LIMIT_S, API_DEFAULT_VERSION),
            None if self.is_local() => Docker::connect_with_unix(&self.host, ANSWER_LIMIT_S, API_DEFAULT_VERSION),
            None => Docker::connect_with_http(&self.host, ANSWER_LIMIT_S, API_DEFAULT_VERSION),
        };
        docker.map_err(unreachable)?.negotiate_version().await.map_err(unreachable)
    }
}
