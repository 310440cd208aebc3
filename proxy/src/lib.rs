//! The sandbox: supervisor, isolation, interception and egress proxy.
//!
//! The modules follow a request: [`isolation`] seals the workload, [`intercept`] and [`identity`] say who connects
//! where, [`http`] reads, judges, dials and relays, [`inference`] serves `https://inference.local`, [`policy_local`]
//! `http://policy.local`, [`record`] keeps what was decided. [`supervisor`] owns their lifecycles and the link to the gateway; [`active`] is what they all
//! obey. Links no compiler and no Wasm text format.

pub mod active;
pub mod caller;
pub mod http;
pub mod identity;
pub mod inference;
pub mod intercept;
pub mod isolation;
pub mod policy_local;
pub mod record;
mod seldom;
pub mod supervisor;
