//! The parts that need no sandbox. The whole supervisor is tested in `tests/supervisor.rs`.

mod generations;
mod signers;
mod state;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use openshell_api::generation::{Content, Generation, SignedGeneration};
use openshell_api::signing::GatewayKey;
use openshell_policy_host::{Counters, Engine, EngineOptions, NoLog, SigningKey};

use super::artifacts::ArtifactStore;
use super::generations::{Generations, Parts};
use super::signers::Signers;
use super::state::StateDir;
use crate::active::{Active, Live};

const SANDBOX: &str = "01JD0000000000000000000000";

/// A sandbox's disk and its gateway's key. Outlives supervisors.
struct World {
    dir: tempfile::TempDir,
    key: SigningKey,
}

/// One run of a supervisor's core.
struct Run {
    generations: Arc<Generations>,
    signers: Arc<Signers>,
    live: Live,
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory"), key: SigningKey::from_bytes(&[7; 32]) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts a supervisor's core; the one before must be gone.
    fn start(&self) -> Run {
        let state = Arc::new(StateDir::open(self.dir.path()).expect("the state directory is free"));
        let live: Live = Arc::new(ArcSwap::from_pointee(Active::nothing()));
        let first = vec![GatewayKey::of(&self.key)];
        let signers = Arc::new(Signers::open(state.clone(), "the-token", first).expect("its keys"));
        let generations = Generations::new(Parts {
            sandbox_id: SANDBOX.to_owned(),
            signers: signers.clone(),
            workload: Default::default(),
            workdir: "/work".to_owned(),
            engine: Engine::new(EngineOptions::default()).expect("an engine"),
            counters: Arc::new(Counters::new()),
            log: Arc::new(NoLog),
            artifacts: ArtifactStore::open(self.path("artifacts"), signers.clone()).expect("a store"),
            state,
            live: live.clone(),
        });
        Run { generations: Arc::new(generations), signers, live }
    }

    fn generation(&self, number: u64, content: Content) -> Generation {
        Generation {
            sandbox_id: SANDBOX.to_owned(),
            number,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            cause: "a test".to_owned(),
            content,
        }
    }

    fn sign(&self, generation: &Generation) -> SignedGeneration {
        SignedGeneration::sign(generation, &self.key).expect("it serializes")
    }

    /// A signed generation that binds nothing; `mark` makes its content different from others.
    fn empty(&self, number: u64, mark: &str) -> SignedGeneration {
        self.sign(&self.generation(number, marked(mark)))
    }
}

/// Content that binds no policy and differs by `mark`.
fn marked(mark: &str) -> Content {
    let rule = openshell_api::provider::CredentialRule {
        hosts: vec![format!("{mark}.example")],
        ..openshell_api::provider::CredentialRule::new(openshell_api::provider::Attach::Bearer)
    };
    Content { credentials: [(mark.to_owned(), rule)].into(), ..Content::default() }
}
