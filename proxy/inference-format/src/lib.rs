//! The inference APIs as documents: parsed once, laid out for the router, priced.
//!
//! What the proxy does to live requests and what `openshell inference explain` says of a file go through the same code here.
//! Absences: no I/O, no clock, no connection, no key.

#![forbid(unsafe_code)]

pub mod contract;
pub mod document;
pub mod endpoint;
pub mod price;
pub mod question;
pub mod texts;
pub mod translate;
pub mod usage;

#[cfg(test)]
mod tests;
