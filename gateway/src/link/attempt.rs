//! One attempt to bring a generation to one sandbox: `Attempt` → `Staged` → `Enforced`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use openshell_api::generation::{Content, SignedGeneration};
use openshell_api::link::ToSupervisor;
use openshell_api::signing::GatewayKey;
use tokio::sync::mpsc;

use super::{Link, LinkClosed};

/// Longest wait for `Staged`: artifacts travel in it, and self-tests run.
const STAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for `Enforcing`.
const ACTIVATE_TIMEOUT: Duration = Duration::from_secs(20);

/// Why an attempt went no further. The sandbox enforces what it did before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttemptError {
    /// The supervisor said no, or asks for what it can't be sent.
    #[error("{reason}")]
    Refused {
        /// Its words, or what that is.
        reason: String,
    },
    /// It can't tell what this gateway signs from what anybody does.
    #[error("it does not trust this gateway's signing key: it has to be stopped and started")]
    Untrusted,
    /// It did not answer in time.
    #[error("it did not answer within {seconds} s")]
    Silent {
        /// How long it was waited for.
        seconds: u64,
    },
    /// The link ended.
    #[error(transparent)]
    Closed(#[from] LinkClosed),
}

/// What becomes of an attempt.
pub(super) enum Event {
    Staged,
    Refused(String),
    /// The supervisor asks for what the gateway can't send, and still waits for it.
    Unsent(String),
    Enforcing(Enforced),
}

/// An acknowledged generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enforced {
    /// Its number.
    pub generation: u64,
    /// Live connections that were cut.
    pub connections_cut: u32,
    /// The swap itself, in nanoseconds.
    pub swap_ns: u64,
}

/// Where the link's reader delivers to, and which artifacts the supervisor may ask for.
pub(super) struct AttemptSlot {
    pub events: mpsc::UnboundedSender<Event>,
    pub artifacts: HashSet<String>,
}

/// A generation that a sandbox is ready to enforce.
pub struct Staged {
    attempt: Attempt,
}

/// An attempt that has begun. Dropped unfinished, it is forgotten here; [`Staged::abort`] tells the sandbox, too.
struct Attempt {
    link: Arc<Link>,
    push: String,
    events: mpsc::UnboundedReceiver<Event>,
}

/// Stages a generation that this key has signed; answers when the supervisor has loaded and tested it. Nothing is sent to one that does not
/// trust the key.
pub async fn stage(
    link: Arc<Link>,
    push: &str,
    signer: &GatewayKey,
    generation: SignedGeneration,
    content: &Content,
) -> Result<Staged, AttemptError> {
    link.until_trusted(signer).await?;
    let (events, receiver) = mpsc::unbounded_channel();
    link.attempts().insert(push.to_owned(), AttemptSlot { events, artifacts: artifacts(content) });
    let mut attempt = Attempt { link, push: push.to_owned(), events: receiver };
    attempt.link.send(ToSupervisor::Stage { push: push.to_owned(), generation }).await?;
    match attempt.next(STAGE_TIMEOUT).await {
        Ok(Event::Staged) => Ok(Staged { attempt }),
        Ok(Event::Refused(reason)) => Err(AttemptError::Refused { reason }),
        Ok(Event::Unsent(reason)) => {
            attempt.tell_abort().await;
            Err(AttemptError::Refused { reason })
        }
        Ok(Event::Enforcing(_)) => Err(AttemptError::Refused { reason: "it answered out of turn".to_owned() }),
        Err(error) => {
            attempt.tell_abort().await;
            Err(error)
        }
    }
}

impl Staged {
    /// Activates; answers when the supervisor enforces it.
    pub async fn activate(self) -> Result<Enforced, AttemptError> {
        let mut attempt = self.attempt;
        attempt.link.send(ToSupervisor::Activate { push: attempt.push.clone() }).await?;
        match attempt.next(ACTIVATE_TIMEOUT).await? {
            Event::Enforcing(enforced) => Ok(enforced),
            Event::Refused(reason) | Event::Unsent(reason) => Err(AttemptError::Refused { reason }),
            Event::Staged => Err(AttemptError::Refused { reason: "it answered out of turn".to_owned() }),
        }
    }

    /// Takes it back.
    pub async fn abort(self) {
        self.attempt.tell_abort().await;
    }
}

impl Attempt {
    async fn next(&mut self, within: Duration) -> Result<Event, AttemptError> {
        tokio::select! {
            event = self.events.recv() => event.ok_or(AttemptError::Closed(LinkClosed)),
            () = self.link.closed.cancelled() => Err(LinkClosed.into()),
            () = tokio::time::sleep(within) => Err(AttemptError::Silent { seconds: within.as_secs() }),
        }
    }

    async fn tell_abort(&self) {
        // A closed link forgets by itself.
        let _ = self.link.send(ToSupervisor::Abort { push: self.push.clone() }).await;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.link.attempts().remove(&self.push);
    }
}

/// Digests of the artifacts that a content refers to.
fn artifacts(content: &Content) -> HashSet<String> {
    let bindings = content.bindings();
    bindings.map(|binding| binding.artifact.clone()).collect()
}
