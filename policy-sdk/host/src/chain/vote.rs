//! One policy's part in a decision.

use std::sync::Arc;

use crate::failure::{Answer, Failure};
use crate::policy::{Policy, PolicyRef};
use crate::reads::ReadNames;
use crate::types::{Denial, Grant, Verdict};

/// How one policy voted.
#[derive(Debug, Clone)]
pub struct Vote {
    /// Its name in the chain.
    pub binding: Arc<str>,
    /// Which policy it is.
    pub policy: Arc<PolicyRef>,
    /// What it said.
    pub stance: Stance,
    /// Its answer was remembered.
    pub memoized: bool,
    /// What it read of the view, by name.
    pub read: ReadNames,
}

/// What a policy said.
#[derive(Debug, Clone)]
pub enum Stance {
    /// It said so.
    Said(Arc<Verdict>),
    /// It failed to say anything.
    Failed(Failure),
    /// It is asked later, about each request.
    Later,
    /// It has no say here.
    None,
}

impl Vote {
    pub(super) fn of(policy: &Policy, (answer, read): (Answer<Arc<Verdict>>, ReadNames)) -> Self {
        let stance = match answer.result {
            Ok(verdict) => Stance::Said(verdict),
            Err(failure) => Stance::Failed(failure),
        };
        Self { memoized: answer.memoized, read, ..Self::silent(policy, stance) }
    }

    pub(super) fn silent(policy: &Policy, stance: Stance) -> Self {
        let (binding, policy) = policy.identity();
        Self { binding, policy, stance, memoized: false, read: ReadNames::default() }
    }

    /// Whether it was asked anything.
    pub fn asked(&self) -> bool {
        matches!(self.stance, Stance::Said(_) | Stance::Failed(_))
    }

    /// Its denial, if it denied.
    pub fn denial(&self) -> Option<&Denial> {
        match &self.stance {
            Stance::Said(verdict) => match &**verdict {
                Verdict::Deny(denial) => Some(denial),
                _ => None,
            },
            _ => None,
        }
    }

    /// Why it gave no answer, if it gave none.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.stance {
            Stance::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// Its grant, if it allowed.
    pub fn grant(&self) -> Option<&Grant> {
        match &self.stance {
            Stance::Said(verdict) => match &**verdict {
                Verdict::Allow(grant) => Some(grant),
                _ => None,
            },
            _ => None,
        }
    }
}
