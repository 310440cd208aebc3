//! Worlds for end-to-end tests: the built binaries in a directory of their own, with origins on loopback.

pub mod origin;
pub mod servers;
pub mod world;
