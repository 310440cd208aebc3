//! A gateway as one talks to it: its REST API, its WebSockets, and what is made of them.
//!
//! Trusts whom the access says and nobody else. Ignores `HTTPS_PROXY`.

pub mod access;
pub mod exec;
pub mod export;
pub mod files;
pub mod follow;
mod foreign;
pub mod forward;
mod identities;
pub mod identity;
pub mod oci;
pub mod pages;
pub mod rest;
pub mod runtimes;
mod service_token;
mod signals;
pub mod stream;
mod unconfirmed;
mod ws;

pub use access::Access;
pub use rest::Client;
pub use service_token::{InvalidServiceToken, ServiceToken};
