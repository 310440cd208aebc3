//! Flags of `openshell-gateway run` that belong together.

mod database;
mod identity;
mod modules;

pub use database::Database;
pub use identity::Identity;
pub use modules::Modules;
