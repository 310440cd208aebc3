//! Wire types of the gateway: what its REST API, the supervisor link and signed generations carry.
//!
//! Holds no behaviour beyond (de)serialization, validation of names, what a credential is bound to, and signing of
//! generations, modules, the audit trail's head and the gateway's next key. Performs no I/O.

pub mod audit;
pub mod authority;
pub mod compress;
pub mod decision;
pub mod discovery;
pub mod enforcement;
pub mod export;
pub mod generation;
pub mod inference;
pub mod launch;
pub mod link;
pub mod module;
pub mod name;
pub mod page;
pub mod patch;
pub mod problem;
pub mod proposal;
pub mod provider;
pub mod push;
pub mod rollout;
pub mod runtime;
pub mod sandbox;
pub mod shadow;
pub mod share;
pub mod signature;
pub mod signing;
pub mod ssh;
pub mod status;
pub mod stream;
pub mod user;
mod word;

pub use name::{InvalidName, Name};
pub use page::Page;
pub use problem::Problem;
pub use word::word;
