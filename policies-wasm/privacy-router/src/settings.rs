//! What an operator can set, and its schema.

use std::collections::BTreeMap;

use openshell_policy_sdk::Sensitivity;
use openshell_policy_sdk::prelude::Deserialize;

use crate::detect::{national, tokens};

/// JSON Schema (draft 2020-12) of [`Settings`].
pub const SCHEMA: &str = include_str!("../settings.schema.json");

/// A sensitivity by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(crate = "openshell_policy_sdk::serde", rename_all = "lowercase")]
pub enum Level {
    /// Anyone may see it.
    Public,
    /// For the organisation.
    Internal,
    /// For few.
    Confidential,
    /// Must stay home.
    Restricted,
}

impl From<Level> for Sensitivity {
    fn from(level: Level) -> Self {
        match level {
            Level::Public => Sensitivity::Public,
            Level::Internal => Sensitivity::Internal,
            Level::Confidential => Sensitivity::Confidential,
            Level::Restricted => Sensitivity::Restricted,
        }
    }
}

/// A pattern of the user's.
#[derive(Debug, Deserialize)]
#[serde(crate = "openshell_policy_sdk::serde", deny_unknown_fields)]
pub struct Pattern {
    /// Kind of its findings.
    pub name: String,
    /// Regular expression.
    pub pattern: String,
    /// What its findings count as.
    pub level: Level,
}

/// Words and phrases of the user's.
#[derive(Debug, Deserialize)]
#[serde(crate = "openshell_policy_sdk::serde", deny_unknown_fields)]
pub struct Dictionary {
    /// Kind of its findings.
    pub name: String,
    /// Found as whole words, without regard to case.
    pub words: Vec<String>,
    /// What its findings count as.
    pub level: Level,
}

/// The router's settings; `{}` is a sensible whole.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "openshell_policy_sdk::serde", default, deny_unknown_fields)]
pub struct Settings {
    /// Least that every request counts as.
    pub floor: Option<Level>,
    /// Kind of finding → what it counts as, in place of the default.
    pub levels: BTreeMap<String, Level>,
    /// The user's patterns.
    pub patterns: Vec<Pattern>,
    /// The user's dictionaries.
    pub dictionaries: Vec<Dictionary>,
    /// Kinds that no placeholder stands for: what holds one of them goes only where it is cleared to go as it is.
    pub never_redact: Vec<String>,
}

/// Default level of each kind that is not a secret or a national number (those are restricted).
const DEFAULTS: &[(&str, Level)] = &[
    ("payment_card", Level::Restricted),
    ("iban", Level::Confidential),
    ("bank_account", Level::Confidential),
    ("passport", Level::Restricted),
    ("driver_licence", Level::Restricted),
    ("health", Level::Confidential),
    ("birth_date", Level::Confidential),
    ("postal_address", Level::Confidential),
    ("phone", Level::Confidential),
    ("email", Level::Internal),
    ("person_name", Level::Internal),
    ("ip_address", Level::Internal),
    ("mac_address", Level::Internal),
    ("connection_string", Level::Restricted),
    ("password", Level::Restricted),
    ("secret", Level::Restricted),
    ("unreadable", Level::Restricted),
];

/// Every built-in kind with its default level.
pub fn defaults() -> BTreeMap<String, Level> {
    let restricted = tokens::kinds().chain(national::kinds()).map(|kind| (kind, Level::Restricted));
    DEFAULTS.iter().copied().chain(restricted).map(|(kind, level)| (kind.to_owned(), level)).collect()
}
