//! The policy modules that come with OpenShell: ordinary components, built from `policies-wasm` and embedded.
//!
//! ```
//! let rules = openshell_bundle::builtin("rules").unwrap();
//! assert!(rules.component.starts_with(b"\0asm"));
//! assert!(rules.digest().starts_with("sha256:"));
//! ```

#![forbid(unsafe_code)]

use sha2::{Digest, Sha256};

/// A policy module that comes with OpenShell.
#[derive(Debug, Clone, Copy)]
pub struct Builtin {
    /// Name users know it by: `rules`, `privacy-router`.
    pub name: &'static str,
    /// Version of its crate.
    pub version: &'static str,
    /// The component's bytes.
    pub component: &'static [u8],
    /// The JSON Schema of its settings: what the component answers, written down so that nobody has to compile it to know
    /// (`schemas/NAME.json`; `openshell policy inspect` prints it).
    pub settings_schema: &'static str,
}

impl Builtin {
    /// `sha256:<hex>` of the component's bytes.
    #[must_use]
    pub fn digest(&self) -> String {
        format!("sha256:{}", hex::encode(Sha256::digest(self.component)))
    }
}

/// All of them.
pub const BUILTINS: &[Builtin] = include!(concat!(env!("OUT_DIR"), "/builtins.rs"));

/// The one of this name.
#[must_use]
pub fn builtin(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|builtin| builtin.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_a_component() {
        let names: Vec<&str> = BUILTINS.iter().map(|builtin| builtin.name).collect();
        assert_eq!(names, ["rules", "privacy-router"]);
        for builtin in BUILTINS {
            // The preamble of a component: version 13, layer 1.
            assert_eq!(&builtin.component[..8], b"\0asm\x0d\0\x01\0", "{}", builtin.name);
            assert!(!builtin.version.is_empty(), "{}", builtin.name);
        }
        assert!(builtin("nothing").is_none());
    }
}
