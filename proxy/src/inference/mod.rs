//! `https://inference.local`.
