//! Counting what canaries decided with a policy.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use openshell_api::decision::{AnswerKind, DecisionRecord};
use openshell_api::rollout::{Canary, Rollout};

use crate::error::{ApiError, ApiResult};
use crate::gateway::Gateway;

/// Clocks of sandboxes on other machines may differ so much.
const SKEW: Duration = Duration::from_secs(300);
/// Kinds of failures that are told apart.
const MAX_REASONS: usize = 20;

/// What was counted so far.
#[derive(Default)]
pub(crate) struct Count {
    /// Decisions it had a say in.
    pub asked: u64,
    /// Of these, denied by it.
    pub denied: u64,
    /// Questions it gave no answer to.
    pub failures: u64,
    /// Kinds of failures.
    pub reasons: BTreeMap<String, u64>,
    /// Per canary, the last record that was looked at.
    seen: HashMap<String, i64>,
}

impl Count {
    /// Counts what was recorded since.
    pub async fn go_on(&mut self, gateway: &Gateway, rollout: &Rollout) -> ApiResult<()> {
        let since = rollout.created_at - SKEW;
        for canary in &rollout.canaries {
            let mut seq = self.seen.get(&canary.sandbox_id).copied().unwrap_or(0);
            let sandbox = canary.sandbox.as_str();
            while let Some((last, lines)) = gateway.store.decision_lines(Some(sandbox), Some(since), seq).await? {
                seq = last;
                self.lines(&lines, rollout, canary)?;
            }
            self.seen.insert(canary.sandbox_id.clone(), seq);
        }
        Ok(())
    }

    fn lines(&mut self, lines: &str, rollout: &Rollout, canary: &Canary) -> ApiResult<()> {
        let digest = rollout.binding.module.as_str();
        // Most records may know nothing of it: they need not be parsed to say so.
        for line in lines.lines().filter(|line| line.contains(digest)) {
            let record: DecisionRecord = serde_json::from_str(line).map_err(ApiError::internal)?;
            if record.generation >= canary.generation {
                self.add(&record, rollout.binding.name.as_str(), digest);
            }
        }
        Ok(())
    }

    fn add(&mut self, record: &DecisionRecord, binding: &str, digest: &str) {
        let vote = record.votes.iter().find(|vote| vote.binding == binding && vote.digest == digest);
        let (answer, reason) = match vote {
            Some(vote) => (vote.answer, vote.reason.as_deref()),
            // A router has no vote: it decided, or it did not.
            None if record.votes.is_empty() && record.digest.as_deref() == Some(digest) => {
                let answer = match record.error.as_deref() {
                    Some("policy_failed") => AnswerKind::Failed,
                    Some("policy_denied") => AnswerKind::Deny,
                    _ => AnswerKind::Allow,
                };
                (answer, record.reason.as_deref())
            }
            None => return,
        };
        match answer {
            AnswerKind::Later | AnswerKind::None => return,
            AnswerKind::Deny => self.denied += 1,
            AnswerKind::Failed => {
                self.failures += 1;
                let reason = reason.unwrap_or_default();
                if self.reasons.len() < MAX_REASONS || self.reasons.contains_key(reason) {
                    *self.reasons.entry(reason.to_owned()).or_default() += 1;
                }
            }
            AnswerKind::Allow | AnswerKind::Abstain => {}
        }
        self.asked += 1;
    }
}
