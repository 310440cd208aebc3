//! Flags of `openshell-gateway run` that belong together.

mod database;
mod identity;

pub use database::Database;
pub use identity::Identity;
