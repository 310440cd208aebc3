//! Proof of enforcement: what a probe inside a sealed sandbox tried, and what became of it.

use serde::{Deserialize, Serialize};

/// What a probe found. It runs inside the sandbox, behind the same walls and as the same user as the workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Enforcement {
    /// RFC 3339, UTC.
    #[schema(value_type = String)]
    pub at: jiff::Timestamp,
    /// One per attempt, in the order they were made.
    pub checks: Vec<Check>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = WallCheck)]
pub struct Check {
    /// What was tried, in one word: `dial-v4`, `ptrace`, `mount` …
    pub name: String,
    /// What must happen.
    pub expected: String,
    /// What did happen.
    pub seen: String,
    /// What that means.
    pub outcome: Outcome,
}

/// What a check means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = WallOutcome)]
pub enum Outcome {
    /// The wall held.
    Proven,
    /// It did not, and it was agreed to run without this wall.
    Waived,
    /// It did not.
    Failed,
}

impl Enforcement {
    /// How many walls held.
    pub fn proven(&self) -> usize {
        self.checks.iter().filter(|check| check.outcome == Outcome::Proven).count()
    }

    /// The walls that did not hold, although they must.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.outcome == Outcome::Failed)
    }

    /// Whether nothing failed, and something was tried at all.
    pub fn holds(&self) -> bool {
        !self.checks.is_empty() && self.failures().next().is_none()
    }

    /// `24/24 proven`; failed and waived checks are counted where there are any.
    pub fn summary(&self) -> String {
        let count = |outcome| self.checks.iter().filter(|check| check.outcome == outcome).count();
        let mut text = format!("{}/{} proven", self.proven(), self.checks.len());
        for (outcome, word) in [(Outcome::Failed, "failed"), (Outcome::Waived, "waived")] {
            if count(outcome) > 0 {
                text.push_str(&format!(", {} {word}", count(outcome)));
            }
        }
        text
    }
}
