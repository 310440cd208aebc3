//! What shadows have answered, counted from the decision records.

use std::collections::{BTreeMap, HashMap};

use openshell_api::decision::{AnswerKind, DecisionRecord, ShadowRecord, Verdict};
use openshell_api::generation::Generation;
use openshell_api::module::Binding;
use openshell_api::shadow::{FlipGroup, ShadowReport};

use crate::error::{ApiError, ApiResult};
use crate::gateway::Gateway;
use crate::push::sandbox_not_found;

/// How far back the generation that bound a shadow is looked for.
const DEPTH: u32 = 1000;
/// Most groups of flips in a report.
const MAX_GROUPS: usize = 100;

/// A report on each shadow of a sandbox.
pub async fn reports(gateway: &Gateway, sandbox: &str) -> ApiResult<Vec<ShadowReport>> {
    let row = gateway.store.sandbox_named(sandbox).await?.ok_or_else(|| sandbox_not_found(sandbox))?;
    let generations = gateway.store.generations(&row.id, DEPTH).await?;
    let Some(newest) = generations.first() else { return Ok(Vec::new()) };
    let mut reports = Vec::with_capacity(newest.content.shadow.len());
    for shadow in &newest.content.shadow {
        reports.push(report(gateway, sandbox, shadow, since(&generations, shadow)).await?);
    }
    Ok(reports)
}

/// When a shadow was bound as it is now. `generations` are newest first.
fn since(generations: &[Generation], shadow: &Binding) -> jiff::Timestamp {
    let same = |generation: &&Generation| generation.content.shadow.iter().any(|other| other.is_same_policy(shadow));
    generations.iter().take_while(same).last().map_or(jiff::Timestamp::MIN, |first| first.created_at)
}

async fn report(gateway: &Gateway, sandbox: &str, shadow: &Binding, since: jiff::Timestamp) -> ApiResult<ShadowReport> {
    let mut count = Count::default();
    let mut seq = 0;
    while let Some((last, lines)) = gateway.store.decision_lines(Some(sandbox), Some(since), seq).await? {
        seq = last;
        let name = shadow.name.to_string();
        let digest = shadow.module.clone();
        count = tokio::task::spawn_blocking(move || count.lines(&lines, &name, &digest)).await??;
    }
    Ok(count.report(shadow, since))
}

/// What tells one group of flips from another: verdicts, rule, destination, method.
type Key = (bool, String, String, Option<String>);

#[derive(Default)]
struct Count {
    asked: u64,
    flips: u64,
    failures: u64,
    times: Vec<u64>,
    groups: HashMap<Key, FlipGroup>,
    reasons: BTreeMap<String, u64>,
}

impl Count {
    fn lines(mut self, lines: &str, binding: &str, digest: &str) -> ApiResult<Self> {
        // Most records know nothing of a shadow: they need not be parsed to say so.
        for line in lines.lines().filter(|line| line.contains("\"shadows\"")) {
            let record: DecisionRecord = serde_json::from_str(line).map_err(ApiError::internal)?;
            let shadow = record.shadows.iter().find(|s| s.vote.binding == binding && s.vote.digest == digest);
            if let Some(shadow) = shadow {
                self.add(&record, shadow);
            }
        }
        Ok(self)
    }

    fn add(&mut self, record: &DecisionRecord, shadow: &ShadowRecord) {
        if matches!(shadow.vote.answer, AnswerKind::Later | AnswerKind::None) {
            return;
        }
        self.asked += 1;
        self.times.push(shadow.took_ns);
        if shadow.vote.answer == AnswerKind::Failed {
            self.failures += 1;
            let reason = shadow.vote.reason.clone().unwrap_or_default();
            if self.reasons.len() < MAX_GROUPS || self.reasons.contains_key(&reason) {
                *self.reasons.entry(reason).or_default() += 1;
            }
        }
        if !shadow.flips {
            return;
        }
        self.flips += 1;
        let allows = shadow.would == Verdict::Allow;
        let decided = matches!(shadow.vote.answer, AnswerKind::Allow | AnswerKind::Deny | AnswerKind::Failed);
        let rule = if decided { shadow.vote.rule.clone().unwrap_or_default() } else { String::new() };
        let destination = format!("{}:{}", record.host, record.port);
        let key = (allows, rule.clone(), destination.clone(), record.method.clone());
        let group = self.groups.entry(key).or_insert_with(|| FlipGroup {
            from: if allows { Verdict::Deny } else { Verdict::Allow },
            to: shadow.would,
            rule,
            destination,
            method: record.method.clone(),
            count: 0,
            example: String::new(),
            path: None,
            reason: None,
        });
        group.count += 1;
        group.example.clone_from(&record.id);
        group.path.clone_from(&record.path);
        group.reason.clone_from(&shadow.vote.reason);
    }

    fn report(mut self, shadow: &Binding, since: jiff::Timestamp) -> ShadowReport {
        self.times.sort_unstable();
        let at = |share: usize| self.times.get(self.times.len() * share / 100).copied().unwrap_or_default();
        let (p50_ns, p99_ns) = (at(50), at(99));
        let mut groups: Vec<FlipGroup> = self.groups.into_values().collect();
        groups.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.destination.cmp(&other.destination)));
        groups.truncate(MAX_GROUPS);
        ShadowReport {
            binding: shadow.name.clone(),
            policy: format!("{}@{}", shadow.name, shadow.version),
            digest: shadow.module.clone(),
            since,
            asked: self.asked,
            flips: self.flips,
            failures: self.failures,
            p50_ns,
            p99_ns,
            groups,
            reasons: self.reasons,
        }
    }
}
