//! The inference APIs as documents: parsed once, laid out for the router, priced.
//!
//! What the proxy does to live requests and what `openshell inference explain` says of a file go through the same code here.
//! Absences: no I/O, no clock, no connection, no credential.

#![forbid(unsafe_code)]

pub mod clearing;
pub mod contract;
pub mod document;
pub mod endpoint;
mod events;
pub mod price;
pub mod question;
pub mod redact;
pub mod said;
pub mod texts;
pub mod tokens;
pub mod translate;
pub mod usage;

#[cfg(test)]
mod tests;
