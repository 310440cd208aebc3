//! A change of one sandbox's rules that was agreed upon beforehand: looked at, and made, under one lock.

use std::time::Instant;

use openshell_api::generation::Content;
use openshell_api::module::Binding;
use openshell_api::push::PushReport;

use super::plan::{Target, known_module, place};
use super::requests::{alone, imports, report};
use super::two_phase::{Reach, carry_out};
use crate::error::{ApiError, ApiResult};
use crate::gateway::Gateway;
use crate::identity::{Operate, Permit};
use crate::locks::Held;
use crate::modules::BindRequest;
use crate::store::Effect;

/// One sandbox as it is, kept from every other change for as long as this lives.
pub struct Plan<'a> {
    gateway: &'a Gateway,
    target: Target,
    began: Instant,
    _locks: Held<'a>,
}

impl<'a> Plan<'a> {
    /// Of the sandbox of this name.
    pub async fn of(gateway: &'a Gateway, sandbox: &str) -> ApiResult<Self> {
        let began = Instant::now();
        let (target, locks) = alone(gateway, sandbox).await?;
        Ok(Self { gateway, target, began, _locks: locks })
    }

    /// Number of its newest generation.
    pub fn generation(&self) -> u64 {
        self.target.current.number
    }

    /// What that enforces.
    pub fn content(&self) -> &Content {
        &self.target.current.content
    }

    /// Binds the built-in rules with these settings, in the place of a binding or as the first one, and marks the
    /// proposal as approved at that very moment.
    pub async fn approve(
        mut self,
        permit: &Permit<Operate>,
        proposal: &str,
        settings: serde_json::Value,
        replaces: Option<Binding>,
    ) -> ApiResult<PushReport> {
        let builtin = openshell_bundle::builtin("rules").ok_or_else(|| ApiError::internal("there are no rules"))?;
        let module = known_module(self.gateway, &builtin.digest()).await?;
        let request = BindRequest {
            module: &module,
            name: replaces.as_ref().map(|binding| &binding.name),
            settings,
            reuse: replaces.as_ref().map_or(0, |binding| binding.reuse),
            deadline_ms: replaces.as_ref().map(|binding| binding.deadline_ms),
        };
        let (before, compiling) = (imports(self.content()), Instant::now());
        let binding = self.gateway.modules.bind(&self.gateway.store, &self.gateway.signing.key(), request).await?;
        let compile = compiling.elapsed();
        place(&mut self.target.next, &module, &binding, false);
        let after = imports(&self.target.next);
        let effect = Effect::ApproveProposal { id: proposal.to_owned(), generation: self.generation() + 1 };
        let cause = format!("approve proposal {proposal}");
        let done = carry_out(self.gateway, permit, vec![self.target], &cause, effect, Reach::Each).await?;
        Ok(report(done, &before, &after, compile, self.began))
    }
}
