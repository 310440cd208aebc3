//! Pushes in flight on one link: which are waiting for artifacts, being loaded, or staged. They end with the link.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use openshell_api::generation::SignedGeneration;
use openshell_api::link::FromSupervisor;
use tokio::task::{JoinError, JoinSet};

use super::artifacts::{MAX_ARTIFACT_BYTES, Sent};
use super::generations::{Activated, Generations, Refusal, Staged, Verified};

/// Pushes that may be in flight at once.
const MAX_PUSHES: usize = 32;

/// Live connections, which a new generation may cut.
#[async_trait::async_trait]
pub trait Reevaluate: Send + Sync {
    /// Judges every live connection again under what is enforced now; cuts those whose verdict is deny and answers how
    /// many that were.
    async fn reevaluate(&self) -> u32;
}

enum Push {
    Waiting { verified: Box<Verified>, missing: HashSet<String> },
    Loading { artifacts: HashSet<String> },
    Staged(Box<Staged>),
    Activating,
}

struct Transfer {
    digest: String,
    sent: Sent,
    size: usize,
    bytes: Vec<u8>,
}

/// Work that ended off the link's task.
enum Done {
    Stored { digest: String, sent: Sent, result: Result<(), Refusal> },
    Loaded { push: String, artifacts: HashSet<String>, result: Result<Box<Staged>, Refusal> },
    Activated { push: String, result: Result<(Activated, u32), Refusal> },
}

/// The pushes of one link. Methods never block; what takes long runs elsewhere and comes back through [`Self::next`].
pub struct Pushes {
    generations: Arc<Generations>,
    connections: Arc<dyn Reevaluate>,
    pushes: HashMap<String, Push>,
    transfers: HashMap<u64, Transfer>,
    work: JoinSet<Done>,
}

impl Pushes {
    /// None in flight.
    pub fn new(generations: Arc<Generations>, connections: Arc<dyn Reevaluate>) -> Self {
        Self { generations, connections, pushes: HashMap::new(), transfers: HashMap::new(), work: JoinSet::new() }
    }

    /// Begins to stage a generation.
    pub fn stage(&mut self, push: String, signed: SignedGeneration) -> Option<FromSupervisor> {
        if self.pushes.len() >= MAX_PUSHES && !self.pushes.contains_key(&push) {
            return Some(FromSupervisor::Refused { push, reason: "too many pushes are in flight".to_owned() });
        }
        self.pushes.remove(&push);
        match self.generations.verify(signed) {
            Ok(verified) => self.prepare(push, verified),
            Err(refusal) => Some(refused(push, &refusal)),
        }
    }

    /// An artifact is about to arrive. Refuses the pushes that wait for it if it is too large.
    pub fn announce(&mut self, digest: String, sent: Sent, channel: u64, size: u64) -> Vec<FromSupervisor> {
        match usize::try_from(size).ok().filter(|_| (1..=MAX_ARTIFACT_BYTES).contains(&size)) {
            Some(size) => {
                self.transfers.insert(channel, Transfer { digest, sent, size, bytes: Vec::new() });
                Vec::new()
            }
            None => {
                self.refuse_waiting(&digest, &format!("artifact {digest} has {size} bytes, which is out of bounds"))
            }
        }
    }

    /// Bytes arrived on a channel. `None`: no artifact travels on it.
    pub fn bytes(&mut self, channel: u64, data: &[u8]) -> Option<Vec<FromSupervisor>> {
        let transfer = self.transfers.get_mut(&channel)?;
        transfer.bytes.extend_from_slice(data);
        if transfer.bytes.len() < transfer.size {
            return Some(Vec::new());
        }
        let transfer = self.transfers.remove(&channel)?;
        let Transfer { digest, sent, size, bytes } = transfer;
        if bytes.len() > size {
            let reason = format!("artifact {digest} is longer than the announced {size} bytes");
            return Some(self.refuse_waiting(&digest, &reason));
        }
        let generations = self.generations.clone();
        self.work.spawn_blocking(move || {
            let result = generations.insert(&digest, &sent, &bytes);
            Done::Stored { digest, sent, result }
        });
        Some(Vec::new())
    }

    /// Begins to enforce what is staged under that name.
    pub fn activate(&mut self, push: String) -> Option<FromSupervisor> {
        let staged = match self.pushes.remove(&push) {
            Some(Push::Staged(staged)) => staged,
            other => {
                if let Some(other) = other {
                    self.pushes.insert(push.clone(), other);
                }
                return Some(FromSupervisor::Refused { push, reason: "nothing is staged under this name".to_owned() });
            }
        };
        let awaited = self.awaited();
        self.pushes.insert(push.clone(), Push::Activating);
        let (generations, connections) = (self.generations.clone(), self.connections.clone());
        // A task of its own: once begun, it is finished even if the link ends meanwhile.
        let activation = tokio::spawn(async move {
            let activated = tokio::task::spawn_blocking(move || generations.activate(*staged, &awaited)).await;
            match resume(activated).await {
                Ok(activated) => Ok((activated, connections.reevaluate().await)),
                Err(refusal) => Err(refusal),
            }
        });
        self.work.spawn(async move { Done::Activated { push, result: resume(activation.await).await } });
        None
    }

    /// Forgets a push, and what is half sent and no other needs. One that is being activated already goes on.
    pub fn abort(&mut self, push: &str) {
        if !matches!(self.pushes.get(push), Some(Push::Activating)) {
            drop_elsewhere(self.pushes.remove(push));
            let awaited = self.awaited();
            self.transfers.retain(|_, transfer| awaited.contains(&transfer.digest));
        }
    }

    /// The next answers. Pends while nothing is being worked on.
    pub async fn next(&mut self) -> Vec<FromSupervisor> {
        let Some(done) = self.work.join_next().await else { return std::future::pending().await };
        match resume(done).await {
            Done::Stored { digest, result: Ok(()), .. } => self.arrived(&digest),
            Done::Stored { digest, sent: Sent::Compressed | Sent::PatchOf(_), result: Err(refusal) } => {
                tracing::warn!(%refusal, "an artifact is asked for again, as a whole");
                let push = self.waiting(&digest).next().cloned();
                push.map(|push| FromSupervisor::Need { push, digests: vec![digest], have: Vec::new(), zstd: false })
                    .into_iter()
                    .collect()
            }
            Done::Stored { digest, result: Err(refusal), .. } => self.refuse_waiting(&digest, &refusal.to_string()),
            Done::Loaded { push, artifacts, result } => self.loaded(push, &artifacts, result).into_iter().collect(),
            Done::Activated { push, result } => {
                self.pushes.remove(&push);
                vec![match result {
                    Ok((activated, connections_cut)) => FromSupervisor::Enforcing {
                        push,
                        generation: activated.generation,
                        connections_cut,
                        swap_ns: u64::try_from(activated.swap.as_nanos()).unwrap_or(u64::MAX),
                    },
                    Err(refusal) => refused(push, &refusal),
                }]
            }
        }
    }

    fn prepare(&mut self, push: String, verified: Verified) -> Option<FromSupervisor> {
        match self.generations.missing(&verified) {
            Err(refusal) => Some(refused(push, &refusal)),
            Ok(digests) if digests.is_empty() => {
                self.load(push, verified);
                None
            }
            Ok(digests) => {
                let missing = digests.iter().cloned().collect();
                self.pushes.insert(push.clone(), Push::Waiting { verified: Box::new(verified), missing });
                Some(FromSupervisor::Need { push, digests, have: self.generations.bases(), zstd: true })
            }
        }
    }

    fn load(&mut self, push: String, verified: Verified) {
        let artifacts = verified.artifacts();
        self.pushes.insert(push.clone(), Push::Loading { artifacts: artifacts.clone() });
        let generations = self.generations.clone();
        self.work.spawn_blocking(move || Done::Loaded {
            push,
            artifacts,
            result: generations.stage(verified).map(Box::new),
        });
    }

    fn loaded(
        &mut self,
        push: String,
        loaded: &HashSet<String>,
        result: Result<Box<Staged>, Refusal>,
    ) -> Option<FromSupervisor> {
        // Aborted, or staged anew with something else, while it was loading.
        if !matches!(self.pushes.get(&push), Some(Push::Loading { artifacts }) if artifacts == loaded) {
            drop_elsewhere(result);
            return None;
        }
        match result {
            Ok(staged) => {
                self.pushes.insert(push.clone(), Push::Staged(staged));
                Some(FromSupervisor::Staged { push })
            }
            Err(refusal) => {
                self.pushes.remove(&push);
                Some(refused(push, &refusal))
            }
        }
    }

    fn arrived(&mut self, digest: &str) -> Vec<FromSupervisor> {
        let mut complete = Vec::new();
        for (push, state) in &mut self.pushes {
            if let Push::Waiting { missing, .. } = state
                && missing.remove(digest)
                && missing.is_empty()
            {
                complete.push(push.clone());
            }
        }
        let mut answers = Vec::new();
        for push in complete {
            if let Some(Push::Waiting { verified, .. }) = self.pushes.remove(&push) {
                answers.extend(self.prepare(push, *verified));
            }
        }
        answers
    }

    /// The pushes that wait for an artifact.
    fn waiting(&self, digest: &str) -> impl Iterator<Item = &String> {
        let waits = |state: &Push| matches!(state, Push::Waiting { missing, .. } if missing.contains(digest));
        self.pushes.iter().filter(move |(_, state)| waits(state)).map(|(push, _)| push)
    }

    fn refuse_waiting(&mut self, digest: &str, reason: &str) -> Vec<FromSupervisor> {
        let waiting: Vec<String> = self.waiting(digest).cloned().collect();
        let refuse = |push| FromSupervisor::Refused { push, reason: reason.to_owned() };
        waiting.into_iter().inspect(|push| drop(self.pushes.remove(push))).map(refuse).collect()
    }

    /// Artifacts that pushes in flight need.
    fn awaited(&self) -> HashSet<String> {
        let artifacts = |state: &Push| match state {
            Push::Waiting { verified, .. } => verified.artifacts(),
            Push::Loading { artifacts } => artifacts.clone(),
            Push::Staged(staged) => staged.artifacts(),
            Push::Activating => HashSet::new(),
        };
        self.pushes.values().flat_map(artifacts).collect()
    }
}

impl Drop for Pushes {
    fn drop(&mut self) {
        drop_elsewhere(std::mem::take(&mut self.pushes));
    }
}

fn refused(push: String, refusal: &Refusal) -> FromSupervisor {
    tracing::warn!(push, %refusal, "a generation is refused");
    FromSupervisor::Refused { push, reason: refusal.to_string() }
}

/// Unmapping code and removing files is slow: not on an async thread.
fn drop_elsewhere<T: Send + 'static>(value: T) {
    drop(tokio::task::spawn_blocking(move || drop(value)));
}

/// The result of a task; its panic goes on here. A task is cancelled only when everything ends: then this pends.
async fn resume<T>(joined: Result<T, JoinError>) -> T {
    match joined.map_err(JoinError::try_into_panic) {
        Ok(value) => value,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_cancelled)) => std::future::pending().await,
    }
}
