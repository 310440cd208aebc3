//! The builder as a program of its own, for scripts: `openshell-policy-build toolchain` readies the compiler,
//! `openshell-policy-build build DIR FILE` builds a crate.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use openshell_policy_build::{BuildOptions, Toolchain, build};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["toolchain"] => Toolchain::find(&say).map(|toolchain| say(&describe(&toolchain))).map_err(|error| {
            let hint = Some(error.hint());
            (error.to_string(), hint)
        }),
        ["build", directory, file] => build_to(directory, file),
        _ => Err(("expected `toolchain` or `build DIR FILE`".into(), None)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err((fact, hint)) => {
            eprintln!("error: {fact}");
            if let Some(hint) = hint {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build_to(directory: &str, file: &str) -> Result<(), (String, Option<String>)> {
    let options = BuildOptions { progress: &say, ..Default::default() };
    let built = build(Path::new(directory), &options).map_err(|error| (error.to_string(), error.hint()))?;
    std::fs::write(file, &built.component).map_err(|error| (format!("write {file}: {error}"), None))?;
    say(&format!(
        "{file}: {} {}, {} bytes, exports {}, imports {}",
        built.name,
        built.version,
        built.component.len(),
        built.exports.join(" "),
        built.imports.join(" ")
    ));
    Ok(())
}

fn describe(toolchain: &Toolchain) -> String {
    let with = match &toolchain.sysroot {
        Some(sysroot) => format!("with the standard library kept in {}", sysroot.display()),
        None => "with the target of its own".to_owned(),
    };
    format!("policies are built by {}, {with}", toolchain.rustc.display())
}

fn say(line: &str) {
    eprintln!("{line}");
}
