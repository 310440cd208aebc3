//! `openshell policy diff`: what one policy may do and another may not, and requests that they answer differently.

mod neighbours;
mod seeds;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use openshell_policy_host::{Chains, Hook, Manifest, Policy, Stance, Verdict, View};
use serde::Serialize;

use super::candidate::{self, Candidate};
use super::replay::question::{self, Question as Asked};
use super::test::question::Question;
use super::test::seen::Seen;
use super::workbench::{Terms, Workbench};
use super::{RULES, RULES_SETTING};
use crate::args::policy::DiffArgs;
use crate::client::Client;
use crate::client::export::{self, Lines};
use crate::command::{Context, DONE, decisions};
use crate::error::Error;
use crate::output::{Table, facts, list};

/// Questions asked at most.
const MOST: usize = 50_000;
/// Exit code where the two differ.
const DIFFERENT: u8 = 2;

/// How two policies differ.
#[derive(Debug, Serialize)]
struct Report {
    a: String,
    b: String,
    /// Hooks and imports of the second alone.
    gains: Vec<String>,
    /// Hooks and imports of the first alone.
    loses: Vec<String>,
    /// Questions that both were asked.
    asked: usize,
    /// Of them, those that were recorded.
    recorded: usize,
    /// Those answered differently.
    different: usize,
    disagreements: Vec<Disagreement>,
}

/// Questions answered differently in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disagreement {
    /// What the first says.
    pub a: String,
    /// What the second says.
    pub b: String,
    /// Host, and method where it is a request.
    pub about: String,
    /// How many there are.
    pub questions: u64,
    /// The shortest, as `policy test` would be asked.
    pub example: String,
    /// At least one of them was recorded.
    pub recorded: bool,
}

/// A policy ready to be asked.
struct Side {
    policy: Chains,
    manifest: Manifest,
}

/// Compares. Answers 2 if there is any difference.
pub async fn run(cx: &Context, args: DiffArgs) -> Result<u8, Error> {
    let client = cx.client().await?;
    let a = candidate::load(cx, &client, &args.a, args.settings_a.as_deref()).await?;
    let b = candidate::load(cx, &client, &args.b, args.settings_b.as_deref()).await?;
    let names = [&args.a, &args.b].map(|path| path.display().to_string());
    let mut starts: Vec<(Question, bool)> = Vec::new();
    starts.extend(recorded(&client, &args).await?.into_iter().map(|question| (question, true)));
    for (candidate, path) in [(&a, &args.a), (&b, &args.b)] {
        starts.extend(stated(candidate, path).into_iter().map(|question| (question, false)));
    }
    let progress = cx.out.progress("asking both");
    let most = args.examples;
    let compared = tokio::task::spawn_blocking(move || {
        let workbench = Workbench::new()?;
        let (a, b) = (side(&workbench, &a)?, side(&workbench, &b)?);
        for side in [&a, &b] {
            starts.extend(seeds::of_examples(&side.manifest).map(|question| (question, false)));
        }
        let mut report = compare(&a, &b, starts);
        [report.a, report.b] = names;
        report.disagreements.truncate(most);
        Ok::<_, Error>(report)
    });
    let report = compared.await.map_err(|e| Error::Io { doing: "compare".into(), source: e.into() })??;
    drop(progress);
    cx.out.data(&report, || text(&report))?;
    let same = report.different == 0 && report.gains.is_empty() && report.loses.is_empty();
    Ok(if same { DONE } else { DIFFERENT })
}

/// What was asked of sandboxes, each question once.
async fn recorded(client: &Client, args: &DiffArgs) -> Result<Vec<Question>, Error> {
    let mut query = vec![("since", decisions::since(args.since).to_string())];
    query.extend(args.sandbox.as_ref().map(|sandbox| ("sandbox", sandbox.to_string())));
    let mut questions = BTreeMap::new();
    let mut lines = Lines::of(client.export_decisions(&query).await?);
    while let Some(block) = lines.next().await? {
        for line in export::lines(&block) {
            if let Ok((Asked { connection, request, response: None, .. }, _, _)) = question::of(export::parse(line)?) {
                let question = Question { connection, request };
                questions.entry(seeds::line(&question)).or_insert(question);
            }
        }
    }
    Ok(questions.into_values().take(MOST / 4).collect())
}

/// What its source says it is about.
fn stated(candidate: &Candidate, path: &Path) -> Vec<Question> {
    if candidate.name.as_str() == RULES {
        return candidate.settings[RULES_SETTING].as_str().map(seeds::of_rules).unwrap_or_default();
    }
    seeds::of_cases(path)
}

fn side(workbench: &Workbench, candidate: &Candidate) -> Result<Side, Error> {
    let baked = workbench.bake(&candidate.component, candidate.name.as_str(), &candidate.settings)?;
    let policy = workbench.load(&baked, &Terms { memo_bytes: 0, ..Terms::default() })?;
    let manifest = baked.manifest().clone();
    if ![Hook::Connect, Hook::Request].iter().any(|hook| policy.has(*hook)) {
        return Err(Error::NoHookFor { question: "connect or request".into() });
    }
    Ok(Side { policy: chain(policy), manifest })
}

fn chain(policy: Policy) -> Chains {
    Chains { own: vec![policy], ..Chains::default() }
}

/// Asks both what they start from, then what lies near, and near every disagreement again.
fn compare(a: &Side, b: &Side, starts: Vec<(Question, bool)>) -> Report {
    let capabilities = |side: &Side| -> BTreeSet<String> {
        let hooks = side.manifest.hooks.iter().map(|hook| format!("hook {hook}"));
        hooks.chain(side.manifest.imports.iter().map(|import| format!("import {import}"))).collect()
    };
    let (of_a, of_b) = (capabilities(a), capabilities(b));
    let mut report = Report {
        a: String::new(),
        b: String::new(),
        gains: of_b.difference(&of_a).cloned().collect(),
        loses: of_a.difference(&of_b).cloned().collect(),
        asked: 0,
        recorded: 0,
        different: 0,
        disagreements: Vec::new(),
    };
    let mut known = BTreeSet::new();
    let mut groups = BTreeMap::<_, Disagreement>::new();
    // How far from the start a question is: neighbours of neighbours only where there was a disagreement.
    let mut waiting: VecDeque<(Question, bool, u8)> =
        starts.into_iter().map(|(q, recorded)| (q, recorded, 0)).collect();
    while let Some((question, recorded, distance)) = waiting.pop_front() {
        let line = seeds::line(&question);
        if report.asked >= MOST || !known.insert(line.clone()) {
            continue;
        }
        report.asked += 1;
        report.recorded += usize::from(recorded);
        let (said_a, said_b) = (answer(&a.policy, &question), answer(&b.policy, &question));
        let differs = said_a != said_b;
        if differs {
            report.different += 1;
            note(&mut groups, &question, line, recorded, said_a, said_b);
        }
        if distance == 0 || (differs && distance == 1) {
            waiting.extend(neighbours::of(&question).into_iter().map(|near| (near, false, distance + 1)));
        }
    }
    report.disagreements = groups.into_values().collect();
    // What really happened first, then what there is most of.
    report.disagreements.sort_by_key(|group| (!group.recorded, std::cmp::Reverse(group.questions)));
    report
}

fn note(
    groups: &mut BTreeMap<(String, String, String), Disagreement>,
    question: &Question,
    line: String,
    recorded: bool,
    a: String,
    b: String,
) {
    let host = &question.connection.host;
    let about = match &question.request {
        Some(request) => format!("{} {host}", request.method),
        None => format!("connect {host}"),
    };
    let fresh = || Disagreement {
        a: a.clone(),
        b: b.clone(),
        about: about.clone(),
        questions: 0,
        example: line.clone(),
        recorded,
    };
    let group = groups.entry((a.clone(), b.clone(), about.clone())).or_insert_with(fresh);
    group.questions += 1;
    let better = (recorded && !group.recorded) || (recorded == group.recorded && line.len() < group.example.len());
    if better {
        group.example = line;
    }
    group.recorded |= recorded;
}

/// What a policy says, with the terms that matter.
fn answer(policy: &Chains, question: &Question) -> String {
    let view: Arc<dyn View> = Arc::new(Seen::default());
    let decision = match &question.request {
        Some(request) => policy.request(&question.connection, request, &view),
        None => policy.connect(&question.connection, &view),
    };
    match question::only_vote(decision).map(|vote| vote.stance) {
        Some(Stance::Said(verdict)) => match &*verdict {
            Verdict::Abstain => "abstain".into(),
            Verdict::Deny(_) => "deny".into(),
            Verdict::Allow(grant) => {
                let mut terms = String::from("allow");
                if let Some(credential) = &grant.credential {
                    terms.push_str(&format!(", credential {credential}"));
                }
                if !grant.private_ranges.is_empty() {
                    terms.push_str(&format!(", private {}", grant.private_ranges.join(" ")));
                }
                if !grant.headers.is_empty() {
                    terms.push_str(&format!(", {} header edits", grant.headers.len()));
                }
                if grant.audit.is_some() {
                    terms.push_str(", audit");
                }
                terms
            }
        },
        Some(Stance::Failed(failure)) => format!("failed: {}", failure.kind()),
        Some(Stance::Later | Stance::None) | None => "not asked".into(),
    }
}

fn text(report: &Report) -> String {
    let mut text = facts(&[
        ("a", report.a.clone()),
        ("b", report.b.clone()),
        ("b gains", list(&report.gains)),
        ("b loses", list(&report.loses)),
        ("asked", format!("{} questions, {} of them recorded", report.asked, report.recorded)),
        ("different", report.different.to_string()),
    ]);
    if !report.disagreements.is_empty() {
        let mut table = Table::new(["A", "B", "ABOUT", "QUESTIONS", "FOR EXAMPLE"]);
        for group in &report.disagreements {
            let Disagreement { a, b, about, questions, example, recorded } = group;
            let seen = if *recorded { " (recorded)" } else { "" };
            table.row([a.clone(), b.clone(), about.clone(), questions.to_string(), format!("{example}{seen}")]);
        }
        text.push('\n');
        text.push_str(&table.render());
    }
    text
}
