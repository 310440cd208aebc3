//! The author's face: check, bake and compile modules. Links Cranelift.

mod check;
mod compiler;

pub use check::{CheckError, Checked, MAX_COMPONENT, check};
pub use compiler::{BakeError, Compiled, CompileError, Compiler};
