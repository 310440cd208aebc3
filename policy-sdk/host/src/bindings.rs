//! Typed bindings over the contract's world. A component may export any subset of its hooks; each is looked up by itself.

#![allow(missing_docs, clippy::all)]

wasmtime::component::bindgen!({
    world: "contract",
    path: "../wit",
    ownership: Borrowing { duplicate_if_necessary: true },
    imports: { default: trappable },
});
