//! One configuration for the engine that compiles and the engine that runs: an artifact loads only where they agree.

use wasmtime::{Config, ModuleVersionStrategy};

/// Raised whenever the configuration below changes in a way that compiled code depends on.
const REVISION: u32 = 1;
const WASMTIME: &str = "48";

/// What an engine's code is compiled for. Sandboxes run Linux, whatever the author's machine runs.
pub(crate) fn compatibility() -> String {
    format!("wasmtime-{WASMTIME} {}-linux r{REVISION}", std::env::consts::ARCH)
}

/// What all our engines agree on.
pub(crate) fn shared() -> Result<Config, wasmtime::Error> {
    let mut config = Config::new();
    config
        .module_version(ModuleVersionStrategy::Custom(format!("openshell-{WASMTIME}-r{REVISION}")))?
        .concurrency_support(false)
        .epoch_interruption(true)
        .memory_init_cow(true)
        .memory_reservation(4 << 30)
        .memory_guard_size(32 << 20)
        .guard_before_linear_memory(true)
        .max_wasm_stack(256 << 10)
        // What a policy said before it trapped lies in its memory; nothing else is kept of it.
        .coredump_on_trap(true);
    // What policies have no use for is off, whether or not this build of wasmtime has it: the two faces are built with
    // different features of it, and an artifact loads only where both agree.
    config.gc_support(false);
    config.wasm_memory64(false).wasm_multi_memory(false).wasm_relaxed_simd(false);
    #[cfg(feature = "compile")]
    config.wasm_threads(false).wasm_exceptions(false).wasm_gc(false).wasm_function_references(false);
    Ok(config)
}
