//! The document as a whole.

use crate::fault::Fault;
use crate::launch::LaunchRules;
use crate::network::{self, Network};
use crate::reader::{Fields, text};
use crate::yaml;

/// A document that was checked.
#[derive(Debug, Clone, Default)]
pub struct Document {
    pub(crate) networks: Vec<Network>,
    pub(crate) launch: LaunchRules,
}

impl Document {
    /// Refuses, with line and column, whatever could not be enforced as written.
    pub fn parse(source: &str) -> Result<Self, Fault> {
        let root = yaml::parse(source)?;
        let known = ["version", "filesystem_policy", "landlock", "process", "network_policies"];
        let fields = Fields::of(&root, "the document", &known)?;
        let version =
            text(fields.require("version").map_err(|fault| fault.hint("begin with `version: 1`"))?, "version")?;
        if version.value != "1" {
            let fault = version.fault(format!("schema version {} is not known", version.value));
            return Err(fault.hint("this module knows version 1"));
        }
        let networks = fields.get("network_policies").map(network::parse).transpose()?.unwrap_or_default();
        Ok(Self { networks, launch: LaunchRules::parse(&fields)? })
    }
}
