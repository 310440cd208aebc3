//! The declarative policy schema, version 1, as a policy module.
//!
//! The settings hold the YAML text. All of it is parsed, checked and indexed when the module is baked, so a decision
//! only looks up. What can't be honoured is refused there, with line and column: unknown keys, rules that can never
//! match, rules that can't be enforced.
//!
//! An endpoint that the document lists is judged by it: what its rules don't allow is denied. A connection that it
//! does not list is denied too, with a hint, or left to the other policies of the chain
//! (`"unlisted": "abstain"`).
//!
//! # Globs
//!
//! One meaning everywhere. `*` stands for any run of characters within a segment, `**` for any run across segments;
//! `/**/` also stands for a single `/`. Segments are split by `/` in paths, executables and query values, by `.` in
//! hosts. Nothing else is special, and `?`, `[`, `{` are refused rather than taken for themselves.

#![forbid(unsafe_code)]

mod binary;
mod decide;
mod document;
mod fault;
mod glob;
mod index;
mod launch;
mod network;
mod operation;
mod reader;
mod rule;
#[cfg(test)]
mod tests;
mod yaml;

use openshell_policy_sdk::prelude::*;

pub use document::Document;
pub use fault::Fault;
use index::Index;

/// The policy. See the [crate's documentation](crate).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    yaml: String,
    #[serde(default)]
    unlisted: Unlisted,
    #[serde(skip)]
    document: Document,
    #[serde(skip)]
    index: Index,
}

/// What is answered to a connection that no endpoint lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Unlisted {
    /// The document is the whole allow-list.
    #[default]
    Deny,
    /// Other policies of the chain may allow it.
    Abstain,
}

impl Policy for Rules {
    const SCHEMA: &str = r#"{
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "yaml": { "type": "string", "description": "The policy document, schema version 1." },
            "unlisted": {
                "enum": ["deny", "abstain"],
                "default": "deny",
                "description": "What is answered to a connection that no endpoint lists."
            }
        },
        "required": ["yaml"],
        "additionalProperties": false
    }"#;

    fn prepare(&mut self) -> Result<(), String> {
        self.document = Document::parse(&self.yaml).map_err(|fault| fault.to_string())?;
        self.index = Index::new(&self.document.networks);
        self.yaml = String::new();
        Ok(())
    }

    fn body_cap(&self) -> u32 {
        let mut endpoints = self.document.networks.iter().flat_map(|network| &network.endpoints);
        let reads = |level| matches!(level, network::Level::Operation(_));
        if endpoints.any(|endpoint| reads(endpoint.level)) { operation::BODY_CAP } else { 0 }
    }

    fn examples(&self) -> Vec<Example> {
        vec![match self.unlisted {
            Unlisted::Deny => Example::deny("connect unlisted.invalid:443 by /usr/bin/true"),
            Unlisted::Abstain => Example::abstain("connect unlisted.invalid:443 by /usr/bin/true"),
        }]
    }
}

impl Connect for Rules {
    fn connect(&self, connection: &Connection) -> Verdict {
        decide::connect(&self.index, &self.document.networks, self.unlisted, connection)
    }
}

impl Request for Rules {
    fn request(&self, connection: &Connection, request: &HttpRequest) -> Verdict {
        decide::request(&self.index, &self.document.networks, self.unlisted, connection, request)
    }
}

impl Launch for Rules {
    fn launch(&self, _: &Workload) -> Result<Constraints, String> {
        Ok(self.document.launch.constraints())
    }
}

export!(Rules: connect, request, launch);
