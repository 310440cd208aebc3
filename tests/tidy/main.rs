//! The repository checks itself: direction of dependencies, no compiler in the supervisor, size of files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_owned()
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

/// Ordinary and build dependencies of each of our crates on our crates.
fn workspace_edges() -> BTreeMap<String, BTreeSet<String>> {
    let metadata: serde_json::Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps", "--offline"])).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            let ours = dependencies
                .iter()
                .filter(|dependency| dependency["kind"] != "dev" && dependency["path"].is_string())
                .map(|dependency| dependency["name"].as_str().expect("name").to_owned())
                .collect();
            (package["name"].as_str().expect("name").to_owned(), ours)
        })
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let allowed: &[(&str, &[&str])] = &[
        ("openshell-policy-build", &[]),
        ("openshell-policy-sdk", &[]),
        ("openshell-policy-host", &[]),
        ("openshell-rules", &["openshell-policy-sdk"]),
        ("openshell-privacy-router", &["openshell-policy-sdk"]),
        ("example-body-check", &["openshell-policy-sdk"]),
        ("example-get-only", &["openshell-policy-sdk"]),
        ("example-header-edit", &["openshell-policy-sdk"]),
        ("example-rate-limit", &["openshell-policy-sdk"]),
        ("four-rules", &["openshell-policy-sdk"]),
        ("hostile-bench", &["openshell-policy-sdk"]),
        ("openshell-bundle", &["openshell-policy-build"]),
        ("openshell-api", &[]),
        ("openshell-transfer", &[]),
        ("openshell-inference-format", &["openshell-api", "openshell-policy-host"]),
        (
            "openshell-proxy",
            &["openshell-api", "openshell-inference-format", "openshell-policy-host", "openshell-transfer"],
        ),
        ("openshell-gateway", &["openshell-api", "openshell-bundle", "openshell-policy-host"]),
        (
            "openshell",
            &[
                "openshell-api",
                "openshell-bundle",
                "openshell-inference-format",
                "openshell-policy-build",
                "openshell-policy-host",
                "openshell-transfer",
            ],
        ),
    ];
    let edges = workspace_edges();
    for (name, may) in allowed {
        let found = edges.get(*name).unwrap_or_else(|| panic!("no crate named {name}"));
        let extra: Vec<_> = found.iter().filter(|dependency| !may.contains(&dependency.as_str())).collect();
        assert!(extra.is_empty(), "{name} must not depend on {extra:?}");
    }
    let unlisted: Vec<_> = edges
        .keys()
        .filter(|name| {
            !["openshell-tests", "openshell-bench", "openshell-eval"].contains(&name.as_str())
                && !allowed.iter().any(|(known, _)| known == name)
        })
        .collect();
    assert!(unlisted.is_empty(), "say here what {unlisted:?} may depend on");
}

#[test]
fn the_supervisor_links_no_compiler() {
    let tree = cargo(&["tree", "-p", "openshell-proxy", "-e", "normal", "--prefix", "none", "--offline"]);
    let compilers =
        ["cranelift-codegen", "regalloc2", "wasmtime-internal-cranelift", "wasmtime-wizer", "wat ", "winch-codegen"];
    let found: Vec<_> = tree.lines().filter(|line| compilers.iter().any(|name| line.starts_with(name))).collect();
    assert!(found.is_empty(), "the supervisor's dependency tree holds a compiler: {found:?}");
    assert!(tree.lines().any(|line| line.starts_with("wasmtime ")), "the supervisor runs wasmtime");
}

#[test]
fn files_stay_small() {
    let mut pending = vec![root()];
    let mut large = Vec::new();
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).expect("readable").flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "target" && name != ".git" && !path.join("CACHEDIR.TAG").exists() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                // What wit-bindgen wrote is kept as source, and read by nobody.
                if path.ends_with("bindings/contract.rs") {
                    continue;
                }
                let lines = std::fs::read_to_string(&path).expect("UTF-8").lines().count();
                if lines > 500 {
                    large.push(format!("{}: {lines} lines", path.display()));
                }
            }
        }
    }
    assert!(large.is_empty(), "split by responsibility:\n{}", large.join("\n"));
}
