//! `https://inference.local`.

mod service;

pub use service::{Body, BoxError, HOST, Inference};
