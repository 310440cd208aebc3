//! `openshell policy replay`: recorded decisions, asked again with a candidate in the chain, in the real engine.

pub mod question;
pub mod tally;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use openshell_api::Name;
use openshell_api::decision::{DecisionRecord, Stage, Verdict, VoteRecord};
use openshell_policy_host::chain::{weigh, weigh_response};
use openshell_policy_host::{Chains, Hook, Outcome, Policy, PolicyRef, Stance, View, Vote};
use tokio::sync::mpsc;

use self::question::{Question, Recorded, Unasked};
use self::tally::{Flip, Tally};
use super::candidate::{self, Candidate};
use super::workbench::{Terms, Workbench};
use crate::args::policy::ReplayArgs;
use crate::client::Client;
use crate::client::export::{self, Lines};
use crate::command::{Context, DONE, decisions};
use crate::error::Error;

/// Memory for remembered verdicts, in bytes.
const MEMO_BYTES: u64 = 256 << 20;
/// Blocks that wait for each thread.
const AHEAD: usize = 4;
/// Exit code where a decision would be the other way.
const FLIPPED: u8 = 2;

/// Asks every recorded decision again. Refuses a candidate that counts or tells the time: its answers depend on more
/// than what was recorded.
pub async fn run(cx: &Context, args: ReplayArgs) -> Result<u8, Error> {
    let client = cx.client().await?;
    let candidate = candidate::load(cx, &client, &args.source, args.settings.as_deref()).await?;
    let name = candidate.name.to_string();
    let binding = args.binding.as_ref().map_or_else(|| name.clone(), Name::to_string);
    let replace_all = args.replace_all || candidate.replaces_all;
    let digest = openshell_policy_host::digest(&candidate.component);
    let policy = tokio::task::spawn_blocking(move || pure(candidate, &binding)).await;
    let policy = policy.map_err(|e| Error::Io { doing: "compile the candidate".into(), source: e.into() })??;

    let labels = match &args.sandbox {
        Some(sandbox) => client.sandbox(sandbox).await.ok().map(|sandbox| Arc::new(sandbox.labels)),
        None => None,
    };
    let replay = Arc::new(Replay::new(policy, replace_all, labels));
    let mut query: Vec<(&str, String)> = Vec::new();
    query.extend(args.sandbox.map(|sandbox| ("sandbox", sandbox.to_string())));
    query.extend(args.since.map(|span| ("since", decisions::since(span).to_string())));
    let progress = cx.out.progress("asking again");
    let began = Instant::now();
    let tally = ask_all(&client, &query, &replay).await?;
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    drop(progress);
    let report = tally.report(name, digest, took_ms);
    cx.out.data(&report, || report.text())?;
    Ok(if report.flips > 0 || !report.failures.is_empty() { FLIPPED } else { DONE })
}

fn pure(candidate: Candidate, binding: &str) -> Result<Policy, Error> {
    let workbench = Workbench::new()?;
    let baked = workbench.bake(&candidate.component, candidate.name.as_str(), &candidate.settings)?;
    if !baked.manifest().pure_verdicts {
        return Err(Error::NotPure { name: candidate.name.to_string() });
    }
    let decides = [Hook::Connect, Hook::Request, Hook::Response];
    if !baked.manifest().hooks.iter().any(|hook| decides.contains(hook)) {
        return Err(Error::NoHookFor { question: "any recorded decision".into() });
    }
    let terms = Terms { binding: binding.to_owned(), reuse: 0, memo_bytes: MEMO_BYTES };
    workbench.load(&baked, &terms)
}

/// Streams the records to as many threads as there are processors.
async fn ask_all(client: &Client, query: &[(&str, String)], replay: &Arc<Replay>) -> Result<Tally, Error> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let mut senders = Vec::with_capacity(threads);
    let mut workers = Vec::with_capacity(threads);
    for _ in 0..threads {
        let (sender, mut receiver) = mpsc::channel::<BytesMut>(AHEAD);
        let replay = Arc::clone(replay);
        senders.push(sender);
        workers.push(tokio::task::spawn_blocking(move || {
            let mut tally = Tally::default();
            while let Some(block) = receiver.blocking_recv() {
                replay.block(&block, &mut tally)?;
            }
            Ok::<_, Error>(tally)
        }));
    }
    let streamed = stream(client, query, &senders).await;
    drop(senders);
    let mut whole = Tally::default();
    for worker in workers {
        let tally = worker.await.map_err(|e| Error::Io { doing: "replay decisions".into(), source: e.into() })??;
        whole.add(tally);
    }
    streamed.map(|()| whole)
}

async fn stream(client: &Client, query: &[(&str, String)], senders: &[mpsc::Sender<BytesMut>]) -> Result<(), Error> {
    let mut lines = Lines::of(client.export_decisions(query).await?);
    let mut turn = 0;
    while let Some(block) = lines.next().await? {
        if senders[turn].send(block).await.is_err() {
            // That thread met an error, and will say so.
            return Ok(());
        }
        turn = (turn + 1) % senders.len();
    }
    Ok(())
}

/// A candidate among recorded votes.
pub struct Replay {
    candidate: Chains,
    binding: Arc<str>,
    body_cap: u32,
    answers_responses: bool,
    replace_all: bool,
    labels: Option<Arc<BTreeMap<String, String>>>,
}

impl Replay {
    /// The candidate takes the place of the binding of its name, or of all of the sandbox's own.
    pub fn new(policy: Policy, replace_all: bool, labels: Option<Arc<BTreeMap<String, String>>>) -> Self {
        Self {
            binding: policy.binding().into(),
            body_cap: policy.manifest().body_cap,
            answers_responses: policy.has(Hook::Response),
            candidate: Chains { own: vec![policy], ..Chains::default() },
            replace_all,
            labels,
        }
    }

    /// Asks every record of a block of lines.
    fn block(&self, lines: &[u8], tally: &mut Tally) -> Result<(), Error> {
        for line in export::lines(lines) {
            self.ask(export::parse(line)?, tally);
        }
        Ok(())
    }

    /// Asks one again.
    pub fn ask(&self, record: DecisionRecord, tally: &mut Tally) {
        tally.decisions += 1;
        let (id, stage) = (record.id.clone(), record.stage);
        // A sandbox that observes allowed it, whatever its policies said.
        let observed = record.rule.as_deref() == Some("observe") && record.audit.is_some();
        let (question, asked, votes) = match question::of(record) {
            Ok(parts) => parts,
            Err(why) => return *tally.unasked.entry(why).or_default() += 1,
        };
        let approximate = question.approximate;
        let recorded = Arc::new(Recorded::new(asked, &question, self.body_cap, self.labels.clone()));
        let view: Arc<dyn View> = recorded.clone();
        let vote = self.vote(&question, &view);
        if let Some(missing) = recorded.missing() {
            return *tally.unasked.entry(Unasked::Reads(missing.to_owned())).or_default() += 1;
        }
        tally.asked += 1;
        tally.approximate += u64::from(approximate);
        if let Some(Vote { stance: Stance::Failed(failure), .. }) = &vote {
            *tally.failures.entry(failure.kind().to_owned()).or_default() += 1;
        }
        let (before, after) = self.outcomes(stage, votes, vote);
        if (observed || before.allows()) != after.0.allows() {
            tally.flip(flip(id, question, after));
        }
    }

    /// The candidate's vote; `None`: it has no say about responses.
    fn vote(&self, question: &Question, view: &Arc<dyn View>) -> Option<Vote> {
        let Question { connection, request, response, .. } = question;
        question::only_vote(match (request, response) {
            (Some(request), Some(response)) if self.answers_responses => {
                self.candidate.response(connection, request, *response, view)
            }
            (_, Some(_)) => return None,
            (Some(request), None) => self.candidate.request(connection, request, view),
            (None, None) => self.candidate.connect(connection, view),
        })
    }

    /// What the recorded votes came to, and what they come to with the candidate's among them.
    fn outcomes(
        &self,
        stage: Stage,
        votes: Vec<VoteRecord>,
        candidate: Option<Vote>,
    ) -> (Outcome, (Outcome, Option<PolicyRef>)) {
        let (mut ceiling, mut own) = (Vec::new(), Vec::with_capacity(votes.len() + 1));
        for record in votes {
            let chain = if record.ceiling { &mut ceiling } else { &mut own };
            chain.push(question::vote(record));
        }
        let weigh_all = |own: &[Vote]| match stage {
            Stage::Response => weigh_response(&ceiling, own),
            _ => weigh((!ceiling.is_empty()).then_some(&*ceiling), own),
        };
        let (before, _) = weigh_all(&own);
        own.retain(|vote| !self.replace_all && vote.binding != self.binding);
        own.extend(candidate);
        (before, weigh_all(&own))
    }
}

fn flip(id: String, question: Question, (after, _by): (Outcome, Option<PolicyRef>)) -> Flip {
    let (to, rule, reason) = match after {
        Outcome::Allow(grant) => (Verdict::Allow, grant.rule, None),
        Outcome::Deny(denial) => (Verdict::Deny, denial.rule, Some(denial.reason)),
        Outcome::Failed(failure) => (Verdict::Deny, failure.kind().to_owned(), Some(failure.to_string())),
        Outcome::Conflict(detail) => (Verdict::Deny, String::new(), Some(detail)),
        Outcome::Unanswered => (Verdict::Deny, String::new(), None),
    };
    let Question { connection, request, .. } = question;
    let (method, path) = request.map_or((None, None), |request| (Some(request.method), Some(request.path)));
    Flip { to, rule, reason, destination: format!("{}:{}", connection.host, connection.port), method, path, id }
}
