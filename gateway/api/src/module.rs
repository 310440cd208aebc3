//! Policy modules: what the gateway stores, and how a sandbox binds one.

use serde::{Deserialize, Serialize};

use crate::Name;
use crate::signature::PublisherKey;

/// A stored module: a component, named and versioned, content-addressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Module {
    /// `sha256:<hex>` of the component's bytes.
    pub digest: String,
    /// Name its author gave it.
    pub name: Name,
    /// Version its author gave it.
    pub version: String,
    /// Size of the component, in bytes.
    pub size: u64,
    /// Contract version it was built against, such as `0.1.0`.
    pub contract: String,
    /// Hooks it exports: `connect`, `request` …
    pub hooks: Vec<String>,
    /// Interfaces it imports: its capability manifest.
    pub imports: Vec<String>,
    /// Whether its verdicts depend on its inputs alone, so that they may be memoized and replayed.
    pub pure_verdicts: bool,
    /// JSON Schema of its settings.
    #[schema(value_type = Object)]
    pub settings_schema: serde_json::Value,
    /// Publishers' keys that vouch for these bytes under this name and version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed_by: Vec<PublisherKey>,
    /// RFC 3339, UTC.
    #[schema(value_type = String)]
    pub created_at: jiff::Timestamp,
}

/// How a sandbox or a ceiling binds a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Binding {
    /// Unique within its chain; by default the module's name.
    pub name: Name,
    /// Version of the module.
    pub version: String,
    /// `sha256:<hex>` of the component.
    pub module: String,
    /// `sha256:<hex>` of the signed artifact that sandboxes load: this module, baked with these settings, compiled.
    pub artifact: String,
    /// The settings it was baked with.
    #[schema(value_type = Object)]
    pub settings: serde_json::Value,
    /// Decisions an instance may serve before it is thrown away; 0 or 1: a fresh instance per decision.
    #[serde(default)]
    pub reuse: u32,
    /// A decision that takes longer is denied, in milliseconds.
    #[serde(default = "default_deadline_ms")]
    pub deadline_ms: u32,
    /// Interfaces it may import, as the user saw and accepted them.
    pub granted_imports: Vec<String>,
    /// The trusted publisher who vouches for the module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<Name>,
}

impl Binding {
    /// Whether it is the same policy under the same name: a module of that version with those settings, for whichever engine it was compiled and
    /// whichever key signed it.
    pub fn is_same_policy(&self, other: &Self) -> bool {
        let Self { name, version, module, settings, .. } = self;
        *name == other.name && *version == other.version && *module == other.module && *settings == other.settings
    }
}

/// Deadline of a decision unless the binding says otherwise, in milliseconds.
pub fn default_deadline_ms() -> u32 {
    50
}
