//! Builds the built-in policies and writes `builtins.rs`, which embeds them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::exit;

use openshell_policy_build::{BuildOptions, Built, build};

/// Name users know each by, and the directory of its crate.
const POLICIES: &[(&str, &str)] = &[("rules", "../rules"), ("privacy-router", "../privacy-router")];
/// Whatever else decides the components' bytes.
const SHARED: &[&str] =
    &["../../policy-sdk/guest/src", "../../policy-sdk/guest/Cargo.toml", "../../policy-sdk/wit", "../../Cargo.lock"];

fn main() {
    let out = PathBuf::from(variable("OUT_DIR"));
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    println!("cargo:rerun-if-env-changed=OPENSHELL_WASM_SYSROOT");
    for path in SHARED {
        rerun_if_changed(&here.join(path));
    }

    let mut table = String::from("&[\n");
    for (name, directory) in POLICIES {
        let directory = here.join(directory);
        rerun_if_changed(&directory.join("src"));
        rerun_if_changed(&directory.join("Cargo.toml"));
        let built = build_policy(&directory, &out);
        let file = format!("{name}.wasm");
        write(&out.join(&file), &built.component);
        // Writing to a string does not fail.
        let _ = writeln!(
            table,
            "    Builtin {{ name: {name:?}, version: {:?}, component: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}\")), \
             settings_schema: include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/schemas/{name}.json\")) }},",
            built.version
        );
    }
    table.push_str("]\n");
    write(&out.join("builtins.rs"), table.as_bytes());
}

fn build_policy(directory: &Path, out: &Path) -> Built {
    // `target/<profile>/build/<package>/out`: beside the profiles, so that they share what is the same for all.
    let target = out.ancestors().nth(4).unwrap_or(out).join("policies-wasm");
    let options =
        BuildOptions { target_dir: Some(target), progress: &|line| eprintln!("{line}"), ..Default::default() };
    build(directory, &options).unwrap_or_else(|error| {
        eprintln!("error: {error}");
        if let Some(hint) = error.hint() {
            eprintln!("hint: {hint}");
        }
        exit(1)
    })
}

fn rerun_if_changed(path: &Path) {
    println!("cargo:rerun-if-changed={}", path.display());
}

fn write(path: &Path, bytes: &[u8]) {
    if let Err(error) = std::fs::write(path, bytes) {
        eprintln!("error: write {}: {error}", path.display());
        exit(1)
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        eprintln!("error: {name} is not set: this runs under cargo");
        exit(1)
    })
}
