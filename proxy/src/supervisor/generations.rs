//! Generations on their way to being enforced: [`Verified`] → [`Staged`] → active.
//!
//! A generation that fails at any step changes nothing. What is enforced survives a restart: it is on disk, signed,
//! before anyone is told that it is enforced.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use openshell_api::generation::{Generation, GenerationError, SignedGeneration};
use openshell_api::module::Binding;
use openshell_api::signing::GatewayKey;
use openshell_policy_host::{
    Chains, Counters, Engine, Hook, Launch, LaunchRefusal, LoadError, LoadOptions, LogSink, Policy, SHADOW,
    SelfTestError, Workload,
};
use tokio::sync::watch;

use super::artifacts::{ArtifactStore, Sent, StoreError};
use super::signers::Signers;
use super::state::{STAGED_EXTENSION, StateDir, StateError};
use crate::active::{Active, Live};

/// The last-known-good generation, signed, in the state directory.
const ENFORCED_FILE: &str = "generation.json";

/// Why a generation is not enforced. Whatever was enforced before still is.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Its signature or its text.
    #[error(transparent)]
    Signature(#[from] GenerationError),
    /// It was made for another sandbox.
    #[error("the generation was made for sandbox {found}, this is {expected}")]
    OtherSandbox {
        /// This sandbox.
        expected: String,
        /// The one it names.
        found: String,
    },
    /// It is older than what is enforced.
    #[error("generation {offered} is older than generation {enforced}, which is enforced")]
    Backwards {
        /// Enforced now.
        enforced: u64,
        /// Refused.
        offered: u64,
    },
    /// It bears the number of the enforced one and says something else.
    #[error("generation {number} is enforced already, with other content")]
    Changed {
        /// Its number.
        number: u64,
    },
    /// Two bindings of one chain have the same name.
    #[error("two policies of one chain are bound as {binding}")]
    Ambiguous {
        /// The name.
        binding: String,
    },
    /// An artifact is bad or can't be kept.
    #[error(transparent)]
    Artifact(#[from] StoreError),
    /// Artifacts that the gateway would have to send are absent.
    #[error("artifacts are missing: {}", digests.join(", "))]
    Missing {
        /// Their digests.
        digests: Vec<String>,
    },
    /// The artifact was made from another module than the binding says.
    #[error("policy {binding}: its artifact holds module {found}, not {expected}")]
    OtherModule {
        /// The binding.
        binding: String,
        /// The module it names.
        expected: String,
        /// The module in the artifact.
        found: String,
    },
    /// The engine refused it.
    #[error("policy {binding}: {source}")]
    Load {
        /// The binding.
        binding: String,
        /// Why.
        source: LoadError,
    },
    /// It does not give the answers its author promised.
    #[error("policy {binding}: {source}")]
    SelfTest {
        /// The binding.
        binding: String,
        /// Which answer was wrong.
        source: SelfTestError,
    },
    /// It is bound as router and has no `route` hook.
    #[error("policy {binding} is bound as router and has no route hook")]
    NotARouter {
        /// The binding.
        binding: String,
    },
    /// Its policies do not let the workload start.
    #[error(transparent)]
    Launch(#[from] LaunchRefusal),
    /// It changes what is fixed when a sandbox is created.
    #[error(
        "it changes {}: what a sandbox may see and as whom it runs is fixed when it is created; to change that, make a new \
         sandbox with `openshell sandbox create --policy`",
        changes.join(", ")
    )]
    Fixed {
        /// What it changes.
        changes: Vec<String>,
    },
    /// It can't be written to the sandbox's disk.
    #[error(transparent)]
    State(#[from] StateError),
    /// The file with the last enforced generation is damaged.
    #[error("the last enforced generation does not parse: {0}")]
    Damaged(#[from] serde_json::Error),
}

/// What a policy was loaded from. Equal ones are the same policy, so it is kept across generations, memo and all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PolicyKey {
    binding: String,
    artifact: String,
    imports: BTreeSet<String>,
    reuse: u32,
    deadline_ms: u32,
}

impl PolicyKey {
    fn of(binding: &Binding, prefix: &str) -> Self {
        Self {
            binding: format!("{prefix}{}", binding.name),
            artifact: binding.artifact.clone(),
            imports: binding.granted_imports.iter().cloned().collect(),
            reuse: binding.reuse,
            deadline_ms: binding.deadline_ms,
        }
    }
}

type Loaded = HashMap<PolicyKey, Policy>;

/// A generation whose signature, sandbox and number are right. Exists only after those checks.
pub struct Verified {
    signed: SignedGeneration,
    generation: Generation,
    signer: GatewayKey,
}

impl Verified {
    /// Digests of every artifact it names.
    pub fn artifacts(&self) -> HashSet<String> {
        digests(&self.generation)
    }
}

/// A generation that is loaded, tested and written beside the enforced one: activating it is a rename and a swap.
pub struct Staged {
    generation: Generation,
    signer: GatewayKey,
    active: Active,
    launch: Launch,
    loaded: Loaded,
    aside: Aside,
}

impl Staged {
    /// Digests of every artifact it names.
    pub fn artifacts(&self) -> HashSet<String> {
        digests(&self.generation)
    }
}

/// A file written ahead; removed when it is not needed after all.
struct Aside {
    state: Arc<StateDir>,
    name: String,
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.state.remove(&self.name);
    }
}

/// A generation that is enforced from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activated {
    /// Its number.
    pub generation: u64,
    /// How long the swap took.
    pub swap: Duration,
}

#[derive(Default)]
struct Enforced {
    generation: Option<Generation>,
    /// The terms of the start, from the first generation on.
    launch: Option<Launch>,
    loaded: Loaded,
}

/// What [`Generations`] works with.
pub struct Parts {
    /// This sandbox's id.
    pub sandbox_id: String,
    /// The gateway's keys.
    pub signers: Arc<Signers>,
    /// What starts in it, as policies are told.
    pub workload: Workload,
    /// Directory the workload starts in.
    pub workdir: String,
    /// Runs policies.
    pub engine: Engine,
    /// The sandbox's counters, which survive a swap.
    pub counters: Arc<Counters>,
    /// Where policies log to.
    pub log: Arc<dyn LogSink>,
    /// Where artifacts are kept.
    pub artifacts: ArtifactStore,
    /// Where the last enforced generation is kept.
    pub state: Arc<StateDir>,
    /// What is enforced.
    pub live: Live,
}

/// Brings generations into force. Every method blocks: on the disk, or while a policy loads.
pub struct Generations {
    parts: Parts,
    /// Also serializes activations.
    enforced: Mutex<Enforced>,
    attempts: AtomicU64,
    number: watch::Sender<u64>,
}

impl Generations {
    /// Nothing is enforced yet: everything is denied until [`Self::restore`] or [`Self::activate`].
    pub fn new(parts: Parts) -> Self {
        Self { parts, enforced: Mutex::default(), attempts: AtomicU64::new(0), number: watch::Sender::new(0) }
    }

    /// Number of the generation that is enforced; 0: none, everything is denied.
    pub fn current(&self) -> u64 {
        self.parts.live.load().generation
    }

    /// The same, now and later.
    pub fn numbers(&self) -> watch::Receiver<u64> {
        self.number.subscribe()
    }

    /// The terms on which the workload starts; absent: no generation was enforced yet. They never change afterwards.
    pub fn launch(&self) -> Option<Launch> {
        self.enforced().launch.clone()
    }

    /// Enforces what was enforced when the supervisor last ran; `None`: this sandbox never had a generation. On a
    /// refusal everything is denied, and numbers that were used are still not taken again.
    pub fn restore(&self) -> Result<Option<u64>, Refusal> {
        let Some(bytes) = self.parts.state.read(ENFORCED_FILE)? else { return Ok(None) };
        let verified = self.verify(serde_json::from_slice(&bytes)?)?;
        self.enforced().generation = Some(verified.generation.clone());
        let staged = self.stage(verified)?;
        Ok(Some(self.activate(staged, &HashSet::new())?.generation))
    }

    /// Checks signature, sandbox and number. Refuses to go backwards; the enforced generation itself may come again.
    pub fn verify(&self, signed: SignedGeneration) -> Result<Verified, Refusal> {
        let (generation, signer) = self.parts.signers.verify(&signed)?;
        let expected = &self.parts.sandbox_id;
        if generation.sandbox_id != *expected {
            return Err(Refusal::OtherSandbox { expected: expected.clone(), found: generation.sandbox_id });
        }
        not_backwards(self.enforced().generation.as_ref(), &generation)?;
        Ok(Verified { signed, generation, signer })
    }

    /// Artifacts it names that the gateway has to send.
    pub fn missing(&self, verified: &Verified) -> Result<Vec<String>, Refusal> {
        Ok(self.parts.artifacts.missing(&verified.artifacts())?)
    }

    /// Artifacts that others may be made of, the newest first.
    pub fn bases(&self) -> Vec<String> {
        self.parts.artifacts.bases()
    }

    /// Takes an artifact. Refuses what does not have this digest or what the gateway did not sign.
    pub fn insert(&self, digest: &str, sent: &Sent, bytes: &[u8]) -> Result<(), Refusal> {
        Ok(self.parts.artifacts.insert(digest, sent, bytes)?)
    }

    /// Loads and tests what is new in it. Refuses with [`Refusal::Missing`] when an artifact is not (or no longer)
    /// here, so that the caller can ask for it.
    pub fn stage(&self, verified: Verified) -> Result<Staged, Refusal> {
        let Verified { signed, generation, signer } = verified;
        let mut loaded = Loaded::new();
        let mut missing = BTreeSet::new();
        let content = &generation.content;
        let ceiling = self.chain(&content.ceiling, "", &mut loaded, &mut missing)?;
        let own = self.chain(&content.chain, "", &mut loaded, &mut missing)?;
        let shadow = self.chain(&content.shadow, SHADOW, &mut loaded, &mut missing)?;
        let router = self.chain(content.router.as_slice(), "", &mut loaded, &mut missing)?.pop();
        if !missing.is_empty() {
            return Err(Refusal::Missing { digests: missing.into_iter().collect() });
        }
        if let Some(router) = router.as_ref().filter(|router| !router.has(Hook::Route)) {
            return Err(Refusal::NotARouter { binding: router.binding().to_owned() });
        }
        let chains = Chains { ceiling, own, shadow, observe: content.observe };
        let launch = chains.launch(&self.parts.workload, &self.parts.workdir)?;
        fixed(self.enforced().launch.as_ref(), &launch)?;
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        let name = format!("generation.{}.{attempt}.{STAGED_EXTENSION}", generation.number);
        let aside = Aside { state: self.parts.state.clone(), name };
        self.parts.state.write_aside(&aside.name, &serde_json::to_vec(&signed)?)?;
        let active = Active {
            generation: generation.number,
            chains,
            router,
            catalogue: content.catalogue.clone(),
            inference: content.inference.clone(),
            owner_budgets: content.owner_budgets.clone(),
            credentials: content.credentials.clone(),
        };
        Ok(Staged { generation, signer, active, launch, loaded, aside })
    }

    /// Enforces it: durably on disk first, then for every decision that begins from now on. `awaited` names artifacts
    /// that are needed for generations not yet activated.
    pub fn activate(&self, staged: Staged, awaited: &HashSet<String>) -> Result<Activated, Refusal> {
        let Staged { generation, signer, active, launch, loaded, aside } = staged;
        let mut enforced = self.enforced();
        // Its key may have been dropped since.
        if !self.parts.signers.trusts(&signer) {
            return Err(GenerationError::BadSignature.into());
        }
        not_backwards(enforced.generation.as_ref(), &generation)?;
        fixed(enforced.launch.as_ref(), &launch)?;
        self.parts.state.rename(&aside.name, ENFORCED_FILE)?;
        let next = Arc::new(active);
        let begin = Instant::now();
        let previous = self.parts.live.swap(next);
        let swap = begin.elapsed();
        self.number.send_replace(generation.number);
        let artifacts = digests(&generation);
        let activated = Activated { generation: generation.number, swap };
        let forgotten =
            std::mem::replace(&mut *enforced, Enforced { generation: Some(generation), launch: Some(launch), loaded });
        drop(enforced);
        self.parts.artifacts.keep(artifacts, awaited);
        // Unmapping code takes its time: not under the lock.
        drop((previous, forgotten));
        Ok(activated)
    }

    fn chain(
        &self,
        bindings: &[Binding],
        prefix: &str,
        loaded: &mut Loaded,
        missing: &mut BTreeSet<String>,
    ) -> Result<Vec<Policy>, Refusal> {
        let mut names = HashSet::new();
        let mut chain = Vec::with_capacity(bindings.len());
        for binding in bindings {
            if !names.insert(&binding.name) {
                return Err(Refusal::Ambiguous { binding: binding.name.to_string() });
            }
            let key = PolicyKey::of(binding, prefix);
            let known = loaded.get(&key).or(self.enforced().loaded.get(&key)).cloned();
            match known.map_or_else(|| self.load(binding, &key.binding), |policy| Ok(Some(policy)))? {
                Some(policy) => {
                    loaded.insert(key, policy.clone());
                    chain.push(policy);
                }
                None => {
                    missing.insert(binding.artifact.clone());
                }
            }
        }
        Ok(chain)
    }

    /// `None`: its artifact is not here. `bound_as` names it in the chain and in the counters.
    fn load(&self, binding: &Binding, bound_as: &str) -> Result<Option<Policy>, Refusal> {
        let Some(artifact) = self.parts.artifacts.get(&binding.artifact)? else { return Ok(None) };
        let name = || binding.name.to_string();
        let found = &artifact.manifest().module;
        if *found != binding.module {
            return Err(Refusal::OtherModule {
                binding: name(),
                expected: binding.module.clone(),
                found: found.clone(),
            });
        }
        let options = LoadOptions {
            reuse: binding.reuse,
            deadline: Duration::from_millis(binding.deadline_ms.into()),
            counters: self.parts.counters.clone(),
            log: self.parts.log.clone(),
            ..LoadOptions::new(bound_as, &binding.granted_imports)
        };
        let policy =
            self.parts.engine.load(&artifact, options).map_err(|source| Refusal::Load { binding: name(), source })?;
        policy.self_test().map_err(|source| Refusal::SelfTest { binding: name(), source })?;
        Ok(Some(policy))
    }

    fn enforced(&self) -> MutexGuard<'_, Enforced> {
        self.enforced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digests(generation: &Generation) -> HashSet<String> {
    generation.content.bindings().map(|binding| binding.artifact.clone()).collect()
}

fn not_backwards(enforced: Option<&Generation>, offered: &Generation) -> Result<(), Refusal> {
    match enforced {
        Some(enforced) if offered.number < enforced.number => {
            Err(Refusal::Backwards { enforced: enforced.number, offered: offered.number })
        }
        Some(enforced) if offered.number == enforced.number && offered.content != enforced.content => {
            Err(Refusal::Changed { number: offered.number })
        }
        _ if offered.number == 0 => Err(Refusal::Backwards { enforced: 0, offered: 0 }),
        _ => Ok(()),
    }
}

fn fixed(before: Option<&Launch>, now: &Launch) -> Result<(), Refusal> {
    let changes = before.map(|before| before.differences(now)).unwrap_or_default();
    if changes.is_empty() { Ok(()) } else { Err(Refusal::Fixed { changes }) }
}
