//! The one place that maps precompiled code into this process.

#![allow(unsafe_code)]

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::artifact::Artifact;

/// Maps an artifact's code.
pub(crate) fn map(engine: &Engine, artifact: &Artifact) -> wasmtime::Result<Component> {
    // SAFETY: `Component::deserialize` runs what it is given as native code, so the bytes must come from wasmtime's
    // compiler and be unchanged since. `Artifact` has no constructor but `Artifact::open`, which yields bytes only after
    // their digest and the signature of the holder of the gateway's key have matched; that key signs nothing but what
    // `Compiler::compile` made. wasmtime itself refuses code of another version, configuration or machine.
    unsafe { Component::deserialize(engine, artifact.code()) }
}
