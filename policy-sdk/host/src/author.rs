//! The author's face: check, bake and compile modules. Links Cranelift.

mod bake;
mod check;
mod compiler;
mod packs;
mod remembered;
mod settings;

pub use check::{CheckError, Checked, MAX_COMPONENT, check};
pub use compiler::{BakeError, CompileError, Compiled, Compiler};
