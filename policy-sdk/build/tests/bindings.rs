//! The SDK carries what `wit-bindgen` makes of the contract as source, so that building a policy compiles no generator.
//! This keeps it true to the contract: after a change of `policy.wit`, run it with `UPDATE_BINDINGS=1`.

use std::fs;
use std::path::Path;

use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator as _};
use wit_bindgen_rust::Opts;

#[test]
fn bindings_are_what_the_contract_says() {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let contract = fs::read_to_string(sdk.join("wit/policy.wit")).unwrap();
    let path = sdk.join("guest/src/bindings/contract.rs");

    let mut resolve = Resolve::default();
    let package = resolve.push_str("policy.wit", &contract).unwrap();
    let world = resolve.select_world(&[package], Some("contract")).unwrap();
    let options = Opts {
        format: true,
        pub_export_macro: true,
        export_macro_name: Some("export_contract".into()),
        additional_derive_attributes: vec!["PartialEq".into(), "Eq".into(), "Hash".into()],
        // The builder describes the world a module really has.
        disable_custom_section_link_helpers: true,
        ..Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files).unwrap();
    let (_, generated) = files.iter().next().unwrap();
    let generated = std::str::from_utf8(generated).unwrap();

    if std::env::var_os("UPDATE_BINDINGS").is_some() {
        fs::write(&path, generated).unwrap();
    }
    let current = fs::read_to_string(&path).unwrap_or_default();
    assert!(current == generated, "{} is stale: run this test with UPDATE_BINDINGS=1", path.display());
}
