//! What `wit-bindgen` makes of the contract. Its records are re-exported at the crate's root.
#![allow(unsafe_code, missing_docs, clippy::all)]

wit_bindgen::generate!({
    path: "../wit",
    world: "contract",
    pub_export_macro: true,
    export_macro_name: "export_contract",
    additional_derives: [PartialEq, Eq, Hash],
});
