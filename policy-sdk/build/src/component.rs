//! A core module becomes a component of the contract.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;

use wasmparser::{Encoding, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::ComponentError;

/// The contract this builder knows.
pub const CONTRACT: &str = "openshell:policy@0.1.0";

const CONTRACT_WIT: &str = include_str!("../../wit/policy.wit");
const HOOKS: &[&str] = &["launch", "connect", "request", "response", "route"];

/// A component, and what it states.
#[derive(Debug, Clone)]
pub struct Componentized {
    /// Its bytes.
    pub component: Vec<u8>,
    /// Interfaces of the contract it exports, without package and version.
    pub exports: Vec<String>,
    /// Interfaces of the contract it imports, likewise.
    pub imports: Vec<String>,
}

/// Wraps a core module as a component whose world is what the module really exports and imports.
///
/// Refuses anything but a core module, imports outside the contract, another version of it, and a module with no hook.
pub fn componentize(module: &[u8]) -> Result<Componentized, ComponentError> {
    let Surface { mut stripped, exports, imports } = Surface::read(module)?;
    if !exports.iter().any(|interface| HOOKS.contains(&interface.as_str())) {
        return Err(ComponentError::NoHook);
    }

    let unfit =
        |error: &dyn std::fmt::Display| ComponentError::Encode { contract: CONTRACT, detail: error.to_string() };
    let mut resolve = Resolve::default();
    resolve.push_str("policy.wit", CONTRACT_WIT).map_err(|error| unfit(&format!("{error:#}")))?;
    let package = resolve.push_str("world.wit", &world(&exports, &imports)).map_err(|e| unfit(&format!("{e:#}")))?;
    let world = resolve.select_world(&[package], Some("built")).map_err(|error| unfit(&format!("{error:#}")))?;
    embed_component_metadata(&mut stripped, &resolve, world, StringEncoding::UTF8, false)
        .map_err(|error| unfit(&format!("{error:#}")))?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&stripped)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| unfit(&format!("{error:#}")))?;
    Ok(Componentized { component, exports: exports.into_iter().collect(), imports: imports.into_iter().collect() })
}

/// The world of exactly these interfaces.
fn world(exports: &BTreeSet<String>, imports: &BTreeSet<String>) -> String {
    let mut text = String::from("package openshell:built;\nworld built {\n");
    let (package, version) = contract();
    for (direction, interfaces) in [("import", imports), ("export", exports)] {
        for interface in interfaces {
            // Writing to a string does not fail.
            let _ = writeln!(text, "    {direction} {package}/{interface}@{version};");
        }
    }
    text.push_str("}\n");
    text
}

fn contract() -> (&'static str, &'static str) {
    CONTRACT.split_once('@').unwrap_or((CONTRACT, ""))
}

/// What a core module shows, and its bytes without the sections an SDK may have put there to describe a larger world.
struct Surface {
    stripped: Vec<u8>,
    exports: BTreeSet<String>,
    imports: BTreeSet<String>,
}

impl Surface {
    fn read(module: &[u8]) -> Result<Self, ComponentError> {
        let malformed = |error: wasmparser::BinaryReaderError| ComponentError::Malformed(error.to_string());
        let mut surface = Self { stripped: Vec::new(), exports: BTreeSet::new(), imports: BTreeSet::new() };
        for payload in Parser::new(0).parse_all(module) {
            let payload = payload.map_err(malformed)?;
            match &payload {
                Payload::Version { encoding: Encoding::Component, .. } => return Err(ComponentError::AlreadyComponent),
                Payload::Version { range, .. } => surface.stripped.extend_from_slice(bytes(module, range)?),
                Payload::ImportSection(section) => {
                    for import in section.clone().into_imports() {
                        let import = import.map_err(malformed)?;
                        let foreign = || ComponentError::ForeignImport {
                            module: import.module.to_owned(),
                            name: import.name.to_owned(),
                            contract: CONTRACT,
                        };
                        let interface = interface_of(import.module)?.ok_or_else(foreign)?;
                        surface.imports.insert(interface);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section.clone() {
                        let export = export.map_err(malformed)?;
                        // `cabi_post_…` frees a result; its function is exported beside it.
                        if let Some((path, _)) = export.name.split_once('#')
                            && !path.starts_with("cabi_post_")
                            && let Some(interface) = interface_of(path)?
                        {
                            surface.exports.insert(interface);
                        }
                    }
                }
                _ => {}
            }
            let described =
                matches!(&payload, Payload::CustomSection(section) if section.name().starts_with("component-type"));
            if let Some((id, range)) = payload.as_section()
                && !described
            {
                let section = bytes(module, &range)?;
                surface.stripped.push(id);
                push_leb128(&mut surface.stripped, section.len());
                surface.stripped.extend_from_slice(section);
            }
        }
        Ok(surface)
    }
}

/// `connect` of `openshell:policy/connect@0.1.0`; `None` for anything outside the package.
fn interface_of(path: &str) -> Result<Option<String>, ComponentError> {
    let (package, version) = contract();
    let Some(rest) = path.strip_prefix(package).and_then(|rest| rest.strip_prefix('/')) else { return Ok(None) };
    match rest.split_once('@') {
        Some((interface, found)) if found == version => Ok(Some(interface.to_owned())),
        _ => Err(ComponentError::ContractVersion { found: path.to_owned(), contract: CONTRACT }),
    }
}

/// What the parser says lies at `range`.
fn bytes<'a>(module: &'a [u8], range: &Range<u64>) -> Result<&'a [u8], ComponentError> {
    let (Ok(start), Ok(end)) = (usize::try_from(range.start), usize::try_from(range.end)) else {
        return Err(ComponentError::Malformed("a section lies outside the file".into()));
    };
    module.get(start..end).ok_or_else(|| ComponentError::Malformed("a section lies outside the file".into()))
}

fn push_leb128(bytes: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}
