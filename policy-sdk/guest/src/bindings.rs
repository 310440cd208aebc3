//! What `wit-bindgen` makes of the contract, kept as source so that building a policy compiles no generator. A test of
//! the builder keeps it true to `policy.wit`. Its records are re-exported at the crate's root.
#![allow(unsafe_code, missing_docs, clippy::all)]

mod contract;

pub use contract::*;
