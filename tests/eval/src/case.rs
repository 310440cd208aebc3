//! A labelled request.

use serde::{Deserialize, Serialize};

/// What a kind belongs to, as far as it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Keys, tokens, passwords.
    Secret,
    /// Numbers with a check or a strict form: cards, accounts, national numbers.
    Identifier,
    /// Personal data that only its surroundings or shape give away.
    Personal,
}

/// Cases for tuning, and cases that nothing is ever tuned on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// What detectors are tuned on.
    Tune,
    /// Other seed, templates, cue words and negatives.
    HeldOut,
}

/// One request and what it holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Case {
    /// Number of the case in its split.
    pub id: usize,
    /// Kind of the value in it; none: nothing sensitive.
    pub kind: Option<String>,
    /// What its kind belongs to.
    pub family: Option<Family>,
    /// What the value stands in, such as `json`, or what kind of negative this is.
    pub carrier: String,
    /// How the value is disguised, such as `plain`.
    pub encoding: String,
    /// Its messages.
    pub messages: Vec<String>,
}

/// What somebody found in a case: kinds, each once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Found {
    /// Number of the case.
    pub id: usize,
    /// What was found, by the router's names.
    pub kinds: Vec<String>,
}
