//! A supervisor that speaks the real protocol, verifies what a real one verifies, and can be told to misbehave.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use openshell_api::Problem;
use openshell_api::enforcement::Enforcement;
use openshell_api::generation::{Content, Generation};
use openshell_api::launch::LaunchSpec;
use openshell_api::link::{FromSupervisor, ToSupervisor};
use openshell_api::proposal::ProposalStatus;
use openshell_api::share::{Share, Want};
use openshell_api::signing::{GatewayKey, reachable};
use openshell_api::stream::StreamRequest;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

pub use super::mood::Mood;
use super::received::Received;
use super::websocket::{Socket, websocket};

/// What it knows and saw.
#[derive(Default)]
pub struct State {
    pub mood: Mood,
    pub enforced: Option<Generation>,
    pub artifacts: HashMap<String, Arc<Vec<u8>>>,
    pub artifacts_received: usize,
    /// Bytes of them that came over the link.
    pub artifact_bytes: usize,
    pub secrets: BTreeMap<String, String>,
    pub aborted: usize,
    pub records_stored: Vec<u64>,
    pub spent: Vec<openshell_api::inference::Spent>,
    pub logs_stored: Vec<u64>,
    pub exec_credit: u64,
    pub hello_generation: Option<u64>,
    /// Answers to what it asked about proposals.
    pub answers: HashMap<String, Result<ProposalStatus, Problem>>,
    /// Proposals that it was told were decided.
    pub decided: Vec<String>,
    /// What it answers when it is to prove its walls.
    pub verified: Option<Result<Enforcement, String>>,
    /// Answers to what it asked of budgets that are spent together.
    pub shares: HashMap<String, Result<Share, Problem>>,
    /// Tokens that it has used or set aside, and keeps when it is to give back.
    pub used: u64,
    /// Credentials it was given over its link and kept: key and refresh, oldest first.
    pub pairs: Vec<(String, String)>,
    /// Whom to trust, as the gateway said, and since when.
    pub trusted: Option<(u64, String)>,
    /// Whose signatures it trusts, as the gateway said.
    pub signers: Option<Vec<GatewayKey>>,
    /// Where the gateway answers, as it said.
    pub gateways: Vec<String>,
    /// Where it is linked, or was last.
    pub linked: Option<String>,
    /// What it shows when it next dials; absent: its newest key.
    pub shows: Option<String>,
}

#[derive(Clone)]
pub struct Supervisor {
    spec: LaunchSpec,
    pub state: Arc<Mutex<State>>,
    link: Arc<Mutex<Option<Link>>>,
}

type Link = (CancellationToken, mpsc::UnboundedSender<FromSupervisor>);

struct Transfer {
    digest: String,
    size: u64,
    base: Option<String>,
    zstd: bool,
    bytes: Vec<u8>,
}

struct Waiting {
    push: String,
    generation: Generation,
    missing: HashSet<String>,
}

impl Supervisor {
    pub fn new(spec: LaunchSpec) -> Self {
        Self { spec, state: Arc::default(), link: Arc::default() }
    }

    pub fn mood(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    pub fn content(&self) -> Content {
        self.state.lock().unwrap().enforced.clone().expect("it enforces something").content
    }

    pub fn generation(&self) -> u64 {
        self.state.lock().unwrap().enforced.as_ref().map_or(0, |generation| generation.number)
    }

    /// Says something to the gateway.
    pub fn say(&self, message: FromSupervisor) {
        let link = self.link.lock().unwrap();
        link.as_ref().expect("it is connected").1.send(message).unwrap();
    }

    /// Waits for the answer to a question about proposals.
    pub async fn answer(&self, question: &str) -> Result<ProposalStatus, Problem> {
        for _ in 0..1000 {
            if let Some(answer) = self.state.lock().unwrap().answers.remove(question) {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("the gateway does not answer");
    }

    /// Asks for a share of a budget, and waits for the answer.
    pub async fn share(&self, want: Want) -> Result<Share, Problem> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let question = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
        self.say(FromSupervisor::NeedShare { question: question.clone(), want });
        for _ in 0..2000 {
            if let Some(answer) = self.state.lock().unwrap().shares.remove(&question) {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("the gateway does not answer");
    }

    pub fn disconnect(&self) {
        if let Some((token, _)) = self.link.lock().unwrap().take() {
            token.cancel();
        }
    }

    /// Dials in. Tries until it can, as a real one does.
    pub fn connect(&self) {
        self.disconnect();
        let token = CancellationToken::new();
        let (say, said) = mpsc::unbounded_channel();
        *self.link.lock().unwrap() = Some((token.clone(), say));
        let supervisor = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = supervisor.serve(said) => {}
            }
        });
    }

    /// Dials in, and again wherever there is a gateway whenever its link is lost.
    pub fn roam(&self) {
        self.disconnect();
        let token = CancellationToken::new();
        let supervisor = self.clone();
        tokio::spawn(async move {
            loop {
                let (say, said) = mpsc::unbounded_channel();
                *supervisor.link.lock().unwrap() = Some((token.clone(), say));
                tokio::select! {
                    () = token.cancelled() => return,
                    () = supervisor.clone().serve(said) => {}
                }
            }
        });
    }

    async fn dial(&self) -> Option<Socket> {
        let mut urls = self.state.lock().unwrap().gateways.clone();
        urls.push(self.spec.gateway_url.clone());
        for url in urls {
            if let Some(socket) = self.dial_at(&url).await {
                self.state.lock().unwrap().linked = Some(url);
                return Some(socket);
            }
        }
        None
    }

    async fn dial_at(&self, url: &str) -> Option<Socket> {
        let url = format!("{}/v1/supervisor", url.replace("https:", "wss:"));
        let shown = {
            let state = self.state.lock().unwrap();
            let newest = state.pairs.last().map(|(key, _)| key.clone());
            state.shows.clone().or(newest).unwrap_or_else(|| self.spec.token.clone())
        };
        let told = self.state.lock().unwrap().trusted.clone();
        let ca = told.map_or_else(|| self.spec.gateway_ca.clone(), |(_, ca)| ca);
        websocket(&url, ca.as_bytes(), &shown).await
    }

    /// Dials once with what is given; whether it was let in.
    pub async fn let_in(&self, shown: &str) -> bool {
        let url = format!("{}/v1/supervisor", self.spec.gateway_url.replace("https:", "wss:"));
        websocket(&url, self.spec.gateway_ca.as_bytes(), shown).await.is_some()
    }

    /// Whose signatures it trusts.
    pub fn signers(&self, state: &State) -> Vec<GatewayKey> {
        let first = GatewayKey::from_hex(&self.spec.verifying_key).expect("a key");
        let of_start = || std::iter::once(first).chain(self.spec.further_keys.iter().copied()).collect();
        state.signers.clone().unwrap_or_else(of_start)
    }

    /// Waits until it has been given so many pairs of credentials, and the gateway knows that it has the last one.
    pub async fn pairs(&self, count: usize) -> Vec<(String, String)> {
        for _ in 0..2000 {
            let pairs = self.state.lock().unwrap().pairs.clone();
            if pairs.len() >= count {
                // Its word is on the way.
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                return pairs;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("the gateway gives no {count} pairs");
    }

    async fn serve(self, mut said: mpsc::UnboundedReceiver<FromSupervisor>) {
        let mut socket = loop {
            match self.dial().await {
                Some(socket) => break socket,
                None => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        };
        let generation = self.state.lock().unwrap().hello_generation.unwrap_or(self.generation_now());
        let signing_keys = {
            let state = self.state.lock().unwrap();
            (state.mood != Mood::KnowsNoKeys).then(|| self.signers(&state))
        };
        let hello = FromSupervisor::Hello {
            version: "test".into(),
            generation,
            degraded: vec![],
            exit_code: None,
            rekeys: true,
            trusts: Some(
                self.state.lock().unwrap().trusted.as_ref().map_or(self.spec.gateway_ca_epoch, |(epoch, _)| *epoch),
            ),
            signing_keys,
        };
        let mut out = vec![hello, FromSupervisor::Running];
        let mut waiting: Option<Waiting> = None;
        let mut staged: HashMap<String, Generation> = HashMap::new();
        let mut transfers: HashMap<u64, Transfer> = HashMap::new();
        let mut opened: HashSet<u64> = HashSet::new();
        loop {
            for message in out.drain(..) {
                let text = serde_json::to_string(&message).unwrap();
                if socket.send(Message::text(text)).await.is_err() {
                    return;
                }
            }
            let message = tokio::select! {
                Some(message) = said.recv() => {
                    out.push(message);
                    continue;
                }
                message = socket.next() => message,
            };
            match message {
                Some(Ok(Message::Text(text))) => {
                    let message = serde_json::from_str(text.as_str()).unwrap();
                    match message {
                        ToSupervisor::Open { channel, request } => {
                            opened.insert(channel);
                            let StreamRequest::Exec { exec: request, .. } = request else { panic!("{request:?}") };
                            for frame in self.exec_output(channel, &request.command) {
                                let _ = socket.send(Message::Binary(frame)).await;
                            }
                            if request.command[0] != "cat" {
                                out.push(FromSupervisor::ExecExited { channel, code: 7, signal: None });
                            }
                        }
                        message => match self.handle(message, &mut waiting, &mut staged, &mut transfers) {
                            Some(answers) => out.extend(answers),
                            None => return,
                        },
                    }
                }
                Some(Ok(Message::Binary(frame))) => {
                    let channel = u64::from_be_bytes(frame[..8].try_into().unwrap());
                    let announced = transfers.contains_key(&channel) || opened.contains(&channel);
                    assert!(announced, "bytes came on channel {channel}, which nothing announced");
                    if let Some(transfer) = transfers.get_mut(&channel) {
                        transfer.bytes.extend_from_slice(&frame[8..]);
                        if transfer.bytes.len() as u64 == transfer.size {
                            let transfer = transfers.remove(&channel).unwrap();
                            out.extend(self.artifact(transfer, &mut waiting, &mut staged));
                        }
                    } else if frame.len() == 9 {
                        out.push(FromSupervisor::ExecExited { channel, code: 0, signal: None });
                    } else {
                        let mut echo = frame.to_vec();
                        echo[8] = 1;
                        let _ = socket.send(Message::Binary(echo.into())).await;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            }
        }
    }

    fn generation_now(&self) -> u64 {
        self.state.try_lock().map_or(0, |state| state.enforced.as_ref().map_or(0, |generation| generation.number))
    }

    /// `None`: the link is lost.
    fn handle(
        &self,
        message: ToSupervisor,
        waiting: &mut Option<Waiting>,
        staged: &mut HashMap<String, Generation>,
        transfers: &mut HashMap<u64, Transfer>,
    ) -> Option<Vec<FromSupervisor>> {
        let mut state = self.state.lock().unwrap();
        Some(match message {
            ToSupervisor::Stage { push, generation } => {
                let signers = self.signers(&state);
                let generation = signers.iter().find_map(|key| generation.verify(key.verifying()).ok());
                let Some(generation) = generation else {
                    return Some(vec![FromSupervisor::Refused { push, reason: "not signed".into() }]);
                };
                assert_eq!(generation.sandbox_id, self.spec.sandbox_id);
                let enforced = state.enforced.as_ref().map_or(0, |enforced| enforced.number);
                let enforced = enforced.max(state.hello_generation.unwrap_or(0));
                match state.mood {
                    Mood::LoseAtStage => return None,
                    Mood::Refuse => vec![FromSupervisor::Refused { push, reason: "not today".into() }],
                    _ if generation.number <= enforced => {
                        vec![FromSupervisor::Refused { push, reason: "backwards".into() }]
                    }
                    _ => {
                        let content = &generation.content;
                        let missing: HashSet<String> = content
                            .bindings()
                            .map(|binding| binding.artifact.clone())
                            .filter(|digest| !state.artifacts.contains_key(digest))
                            .collect();
                        if missing.is_empty() {
                            staged.insert(push.clone(), generation);
                            vec![FromSupervisor::Staged { push }]
                        } else {
                            let mut digests: Vec<String> = missing.iter().cloned().collect();
                            if state.mood == Mood::AskForMore {
                                digests.push(format!("sha256:{}", "0".repeat(64)));
                            }
                            *waiting = Some(Waiting { push: push.clone(), generation, missing });
                            let have = state.artifacts.keys().take(8).cloned().collect();
                            let zstd = state.mood != Mood::KnowsNoKeys;
                            vec![FromSupervisor::Need { push, digests, have, zstd }]
                        }
                    }
                }
            }
            ToSupervisor::Artifact { digest, channel, size, base, zstd } => {
                transfers.insert(channel, Transfer { digest, size, base, zstd, bytes: Vec::new() });
                vec![]
            }
            ToSupervisor::Activate { push } => match (state.mood, staged.remove(&push)) {
                (Mood::LoseAtActivate, _) => return None,
                (_, None) => vec![FromSupervisor::Refused { push, reason: "nothing is staged".into() }],
                (_, Some(generation)) => {
                    let number = generation.number;
                    state.enforced = Some(generation);
                    vec![FromSupervisor::Enforcing { push, generation: number, connections_cut: 0, swap_ns: 1 }]
                }
            },
            ToSupervisor::Abort { push } => {
                staged.remove(&push);
                state.aborted += 1;
                vec![]
            }
            ToSupervisor::Trust { epoch, ca } => {
                state.trusted = Some((epoch, ca));
                vec![FromSupervisor::Trusts { epoch }]
            }
            ToSupervisor::SigningKeys { .. } if state.mood == Mood::DeafToKeys => vec![],
            ToSupervisor::SigningKeys { keys, vouchers } => {
                assert_ne!(state.mood, Mood::KnowsNoKeys, "it can't be told");
                let reached = reachable(&self.signers(&state), &vouchers);
                if keys.iter().all(|key| reached.contains(key)) {
                    state.signers = Some(keys);
                }
                vec![FromSupervisor::SigningKeys { keys: self.signers(&state) }]
            }
            ToSupervisor::Gateways { urls } => {
                state.gateways = urls;
                vec![]
            }
            ToSupervisor::Secrets { values } => {
                state.secrets = values;
                vec![]
            }
            ToSupervisor::Share { question, result } => {
                state.shares.insert(question, result);
                vec![]
            }
            ToSupervisor::GiveBack { id, shares } => {
                // It has used so much of each, and holds nothing that is on its way.
                let used = state.used;
                let keep = |share: Share| Share { tokens: share.tokens.map(|tokens| tokens.min(used)), ..share };
                vec![FromSupervisor::GivenBack { id, shares: shares.into_iter().map(keep).collect() }]
            }
            ToSupervisor::ResetSessions { .. } if state.mood == Mood::LoseAtReset => return None,
            ToSupervisor::ResetSessions { id, .. } => vec![FromSupervisor::SessionsReset { id }],
            ToSupervisor::Verify { id } => {
                let result = state.verified.clone().unwrap_or_else(|| Err("nobody can try".to_owned()));
                vec![FromSupervisor::Verified { id, result }]
            }
            ToSupervisor::Proposal { question, result } => {
                state.answers.insert(question, result);
                vec![]
            }
            ToSupervisor::ProposalDecided { id } => {
                state.decided.push(id);
                vec![]
            }
            ToSupervisor::Spent { spent } => {
                state.spent = spent;
                vec![]
            }
            ToSupervisor::RecordsStored { through } => {
                state.records_stored.push(through);
                vec![]
            }
            ToSupervisor::LogsStored { through } => {
                state.logs_stored.push(through);
                vec![]
            }
            ToSupervisor::ExecCredit { bytes, .. } => {
                state.exec_credit += bytes;
                vec![]
            }
            ToSupervisor::ExecSignal { channel, signal } => {
                vec![FromSupervisor::ExecExited { channel, code: 128 + signal, signal: Some(signal) }]
            }
            ToSupervisor::Rekey { id, key, refresh, .. } => match state.mood {
                Mood::KeepOldKeys => vec![],
                mood => {
                    state.pairs.push((key.0, refresh.0));
                    state.shows = None;
                    if mood == Mood::LoseAtRekey {
                        return None;
                    }
                    vec![FromSupervisor::Rekeyed { id }]
                }
            },
            ToSupervisor::Shutdown => return None,
            _ => vec![],
        })
    }

    fn artifact(
        &self,
        Transfer { digest, base, zstd, bytes, .. }: Transfer,
        waiting: &mut Option<Waiting>,
        staged: &mut HashMap<String, Generation>,
    ) -> Option<FromSupervisor> {
        let mut state = self.state.lock().unwrap();
        state.artifact_bytes += bytes.len();
        let base = base.map(|base| state.artifacts[&base].clone());
        let received = Received { digest: digest.clone(), base, zstd, bytes, signers: self.signers(&state) };
        state.artifacts.insert(digest.clone(), received.verified());
        state.artifacts_received += 1;
        let wanted = waiting.as_mut()?;
        wanted.missing.remove(&digest);
        if !wanted.missing.is_empty() {
            return None;
        }
        let Waiting { push, generation, .. } = waiting.take()?;
        staged.insert(push.clone(), generation);
        Some(FromSupervisor::Staged { push })
    }

    /// `cat` echoes; anything else writes its name to stdout and `oops` to stderr.
    fn exec_output(&self, channel: u64, command: &[String]) -> Vec<Bytes> {
        let frame = |stream: u8, data: &[u8]| Bytes::from([&channel.to_be_bytes()[..], &[stream], data].concat());
        if command[0] == "cat" {
            return vec![];
        }
        vec![frame(1, command.join(" ").as_bytes()), frame(2, b"oops")]
    }
}
