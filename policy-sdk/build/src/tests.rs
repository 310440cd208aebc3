use std::fs;
use std::path::Path;

use crate::{BuildError, BuildOptions, ComponentError, build, componentize};

/// A core module of one import of type `[] -> []`, and one function with the given export names.
fn module(import: Option<(&str, &str)>, exports: &[&str]) -> Vec<u8> {
    let name = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    let mut section =
        |id: u8, content: Vec<u8>| bytes.extend([&[id, content.len() as u8], content.as_slice()].concat());
    section(1, vec![1, 0x60, 0, 0]);
    if let Some((from, what)) = import {
        section(2, [vec![1], name(from), name(what), vec![0, 0]].concat());
    }
    section(3, vec![1, 0]);
    let function = u8::from(import.is_some());
    let entries = exports.iter().flat_map(|export| [name(export), vec![0, function]].concat());
    section(7, [vec![exports.len() as u8], entries.collect()].concat());
    section(10, vec![1, 2, 0, 0x0b]);
    bytes
}

#[test]
fn modules_that_are_no_policies() {
    let check = |module: &[u8], expected: &str| {
        let error = componentize(module).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    let connect = "openshell:policy/connect@0.1.0#decide";
    check(b"hello", "not a WebAssembly module");
    check(b"\0asm\x0d\0\x01\0", "a component, not a core module");
    check(&module(None, &["memory"]), "exports no hook");
    check(&module(None, &["openshell:policy/configure@0.1.0#schema"]), "exports no hook");
    check(&module(Some(("env", "rand")), &[connect]), "imports `rand` from `env`");
    check(&module(Some(("wasi:sockets/tcp@0.2.0", "x")), &[connect]), "imports `x` from `wasi:sockets/tcp@0.2.0`");
    check(&module(None, &["openshell:policy/connect@0.2.0#decide"]), "speaks openshell:policy/connect@0.2.0");
    check(&module(None, &["openshell:policy/nothing@0.1.0#x", connect]), "does not fit");
    check(&module(None, &[connect]), "does not fit");
}

#[test]
fn crates_that_are_no_policies() {
    let check = |files: &[(&str, &str)], expected: &str| {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let error = build(directory.path(), &BuildOptions::default()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        error
    };
    const PACKAGE: &str = "[package]\nname = \"p\"\nversion = \"1.2.3\"\nedition = \"2024\"\n[workspace]\n";
    const CDYLIB: &str = "[lib]\ncrate-type = [\"cdylib\"]\n";
    let policy = format!("{PACKAGE}{CDYLIB}");

    assert!(check(&[], "has no Cargo.toml").hint().is_some());
    check(&[("Cargo.toml", "[package")], "cargo cannot read");
    check(&[("Cargo.toml", "[workspace]\n")], "a workspace without a package of its own");
    assert!(
        check(&[("Cargo.toml", PACKAGE), ("src/lib.rs", "")], "no library of crate-type \"cdylib\"").hint().is_some()
    );
    let error = check(&[("Cargo.toml", &policy), ("src/lib.rs", "fn f() -> u8 { \"\" }")], "p does not compile");
    assert!(error.to_string().contains("mismatched types"), "{error}");
    let error = check(&[("Cargo.toml", &policy), ("src/lib.rs", "")], "exports no hook");
    assert!(matches!(error, BuildError::Component(ComponentError::NoHook)));
    for (settings, expected) in [
        ("stack-bites = 16384", "unknown field `stack-bites`"),
        ("stack-bytes = 100", "stack-bytes is 100; it must be a multiple of 16 between 4096 and 1048576"),
        ("stack-bytes = 16388", "stack-bytes is 16388"),
        ("stack-bytes = \"64k\"", "expected u32"),
        ("optimize = \"fast\"", "unknown variant `fast`, expected `speed` or `size`"),
    ] {
        check(
            &[("Cargo.toml", &format!("{policy}[package.metadata.openshell]\n{settings}\n")), ("src/lib.rs", "")],
            expected,
        );
    }
}

#[test]
fn an_example_states_what_it_uses() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies-wasm/examples");
    let target = tempfile::tempdir().unwrap();
    let check = |name: &str, exports: &[&str], imports: &[&str]| {
        let options = BuildOptions { target_dir: Some(target.path().to_owned()), ..Default::default() };
        let built = build(&examples.join(name), &options).unwrap();
        assert_eq!(built.name, format!("example-{name}"));
        assert_eq!(built.version, "0.1.0");
        assert_eq!(built.exports, exports, "{name}");
        assert_eq!(built.imports, imports, "{name}");
        assert!(built.component.len() < 400_000, "{name}: {} bytes", built.component.len());
    };
    check("get-only", &["configure", "connect", "request"], &[]);
    check("rate-limit", &["configure", "request"], &["counters"]);
    check("header-edit", &["configure", "request"], &["view"]);
    check("body-check", &["configure", "request"], &["view"]);
}
