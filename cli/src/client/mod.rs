//! The gateway as this machine reaches it: where it is, its REST API, its WebSockets, and starting and stopping it.
//!
//! Trusts the gateway's own CA and nothing else. Ignores `HTTPS_PROXY`.

pub mod daemon;
pub mod endpoint;
pub mod exec;
pub mod export;
pub mod files;
pub mod follow;
pub mod forward;
mod identities;
pub mod paths;
pub mod registry;
pub mod rest;
pub mod stream;
mod unconfirmed;
mod ws;

pub use endpoint::{Access, Place};
pub use rest::Client;
