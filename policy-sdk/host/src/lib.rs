//! The policy engine: checks, bakes and compiles policy modules (feature `compile`), and runs them.
//!
//! The run face links no compiler. See `API.md` for the agreed seam.

pub mod types;
pub mod view;

pub use types::*;
pub use view::{NoView, View};
