//! `openshell-supervisor`: runs one sandbox.

fn main() {}
