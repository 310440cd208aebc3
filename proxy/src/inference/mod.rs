//! `https://inference.local`: parsed, judged by the router, sent only where it is cleared to go.
//!
//! A request's life: the crate `openshell-inference-format` says which API it speaks, parses its body once and lays out every
//! text in it, [`sessions`] says what its conversation contained before, [`forecast`] what it will probably cost, [`asking`] asks the
//! `route` hook, [`clearance`] checks each candidate again and makes the only value that [`upstream`] sends with, [`ledger`] sets aside
//! what it may cost, asking a [`purse`] for more of budgets that are shared, [`attempts`] falls back, escalates and tries again before the first byte, leaving alone what [`health`] knows to be
//! down and a [`probe`] has not found alive again, [`relay`] streams the answer and reads its figures on the way. [`refusal`] answers in the caller's dialect.
//!
//! Absences: nothing the sandbox sent as a credential is forwarded; no redirect is followed; no byte goes to a backend
//! without a [`clearance::Cleared`] for it.

mod asking;
mod attempts;
mod clearance;
mod forecast;
mod head;
mod health;
mod intake;
mod ledger;
mod models;
mod probe;
mod purse;
mod records;
mod refusal;
mod relay;
mod router;
mod serve;
mod service;
mod sessions;
mod upstream;

pub use ledger::{Ledger, Lost};
pub use purse::Purse;
pub use serve::{InferenceOptions, InferenceService};
pub use service::{Body, BoxError, HOST, Inference, whole};
pub use sessions::{Sessions, Told};

#[cfg(test)]
mod tests;
