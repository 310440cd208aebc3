//! `openshell policy new`.

use std::path::{Path, PathBuf};

use openshell_api::Name;
use serde::Serialize;

use super::sdk;
use crate::args::policy::{NewArgs, Template};
use crate::command::{Context, DONE};
use crate::error::Error;

const MANIFEST: &str = include_str!("../../template/Cargo.toml.template");

/// Source and cases of each template.
macro_rules! template {
    ($name:literal) => {
        (
            include_str!(concat!("../../template/", $name, "/lib.rs.template")),
            include_str!(concat!("../../template/", $name, "/cases.yaml.template")),
        )
    };
}

#[derive(Debug, Serialize)]
struct Created {
    name: Name,
    directory: PathBuf,
    sdk: PathBuf,
}

/// Writes a new policy crate. Refuses a directory that has anything in it.
pub fn run(cx: &Context, args: &NewArgs) -> Result<u8, Error> {
    let directory =
        std::path::absolute(&args.directory).map_err(Error::io(format!("resolve {}", args.directory.display())))?;
    let last = directory.file_name().unwrap_or_default().to_string_lossy();
    let name = crate_name(args.name.as_ref().map_or(&*last, Name::as_str))?;
    let occupied = directory.symlink_metadata().is_ok()
        && std::fs::read_dir(&directory).map_or(true, |mut entries| entries.next().is_some());
    if occupied {
        return Err(Error::Exists { path: args.directory.clone() });
    }
    let sdk = sdk::install()?;
    write(&directory, &name, &sdk, args.template)?;
    let created = Created { name, directory, sdk };
    cx.out.data(&created, || created.directory.display().to_string())?;
    let shown = args.directory.display();
    cx.out.note(format!("next: openshell policy test {shown}\n      openshell policy push {shown} --sandbox NAME"));
    Ok(DONE)
}

fn write(directory: &Path, name: &Name, sdk: &Path, template: Template) -> Result<(), Error> {
    let manifest = MANIFEST.replace("{name}", name.as_str()).replace("\"{sdk}\"", &toml_string(sdk));
    let (code, cases) = match template {
        Template::Connect => template!("connect"),
        Template::Request => template!("request"),
        Template::RateLimit => template!("rate-limit"),
        Template::Router => template!("router"),
        Template::Redact => template!("redact"),
    };
    let files = [
        ("Cargo.toml", manifest.as_str()),
        ("Cargo.lock", sdk::LOCK),
        (".gitignore", "/target\n"),
        ("cases.yaml", cases),
        ("src/lib.rs", &code.replace("{name}", name.as_str())),
    ];
    let source = directory.join("src");
    std::fs::create_dir_all(&source).map_err(Error::io(format!("create {}", source.display())))?;
    for (file, contents) in files {
        let path = directory.join(file);
        std::fs::write(&path, contents).map_err(Error::io(format!("write {}", path.display())))?;
    }
    Ok(())
}

/// A TOML basic string; JSON's escapes are among TOML's.
fn toml_string(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

/// A crate's name must not begin with a digit, or be a word of the language.
fn crate_name(given: &str) -> Result<Name, Error> {
    const WORDS: [&str; 6] = ["core", "crate", "self", "std", "super", "test"];
    let bad = || Error::BadCrateName { given: given.to_owned() };
    let name = super::source::name_from(given).map_err(|_| bad())?;
    let begins_with_digit = name.as_str().starts_with(|c: char| c.is_ascii_digit());
    if begins_with_digit || WORDS.contains(&name.as_str()) { Err(bad()) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_name_crates() {
        for (given, name) in [
            ("my-policy", "my-policy"),
            ("My_Policy", "my-policy"),
            ("1st", "refused"),
            ("test", "refused"),
            ("", "refused"),
            ("ä", "refused"),
        ] {
            assert_eq!(crate_name(given).map_or("refused".into(), |n| n.to_string()), name, "{given}");
        }
    }
}
