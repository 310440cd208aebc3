//! Shares of a budget that the sandboxes of one user spend together. The gateway deals them out, so that all of them never come to more
//! than the budget; a supervisor spends no more than its share.

use serde::{Deserialize, Serialize};

use crate::Name;
use crate::inference::{Budget, Period};

/// Which budget of its user's, in which window.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pot {
    /// Over which time.
    pub period: Period,
    /// Number of the window; see [`Period::window`].
    pub window: i64,
    /// Only what this backend costs; absent: all of them together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Name>,
}

impl Pot {
    /// The pot of a budget at a time.
    pub fn of(budget: &Budget, at: jiff::Timestamp) -> Self {
        Self { period: budget.period, window: budget.period.window(at), backend: budget.backend.clone() }
    }
}

/// What a sandbox needs of a pot: all that it spent and set aside there, and what it is about to; 0: no more than it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// Of which.
    pub pot: Pot,
    /// Millionths of a millionth of a US dollar.
    pub cost: u64,
    /// Tokens, input and output together.
    pub tokens: u64,
}

/// What a sandbox may spend of a pot, all that it spent there before included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Of which.
    pub pot: Pot,
    /// Millionths of a millionth of a US dollar; absent: the budget does not limit them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<u64>,
    /// Tokens, input and output together; absent: the budget does not limit them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Rises with each share that is dealt to a sandbox of a pot: an older one never takes the place of a newer one, and what is
    /// given back of an older one is not taken.
    pub serial: u64,
}
