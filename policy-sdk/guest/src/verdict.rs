//! Building verdicts.

use std::fmt;

use crate::{Denial, Grant, HeaderEdit, Inspection, Verdict};

/// Verdicts are built fluently. Terms of an allow mean nothing to a denial and the other way round: such a call leaves
/// the verdict as it is.
///
/// ```
/// use openshell_policy_sdk::prelude::*;
///
/// let allow = Verdict::allow("github").inspect().credential("github-token").set_header("x-team", "tools");
/// assert_eq!(allow.to_string(), "allow github");
///
/// let deny = Verdict::deny("read-only", "POST would write").hint("use GET");
/// assert_eq!(deny.to_string(), "deny read-only");
/// ```
impl Verdict {
    /// No opinion: the other policies of the chain decide. When nobody allows, the answer is no.
    #[must_use]
    pub fn abstain() -> Self {
        Self::Abstain
    }

    /// Allows, naming the rule that did. Inspected where the protocol allows it ([`Inspection::Automatic`]).
    #[must_use]
    pub fn allow(rule: impl Into<String>) -> Self {
        Self::Allow(Grant {
            rule: rule.into(),
            inspection: Inspection::Automatic,
            credential: None,
            private_ranges: Vec::new(),
            headers: Vec::new(),
            audit: None,
        })
    }

    /// Denies: `rule` did, for this `reason` (one sentence). Any denial in the chain wins.
    #[must_use]
    pub fn deny(rule: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Deny(Denial::new(rule, reason))
    }

    /// Refuses the connection unless its requests can be judged.
    #[must_use]
    pub fn inspect(self) -> Self {
        self.grant(|grant| grant.inspection = Inspection::Required)
    }

    /// Relays opaque bytes: no request hook will see them.
    #[must_use]
    pub fn opaque(self) -> Self {
        self.grant(|grant| grant.inspection = Inspection::Opaque)
    }

    /// Has the host attach the credential of this name. The policy never sees its value.
    #[must_use]
    pub fn credential(self, name: impl Into<String>) -> Self {
        self.grant(|grant| grant.credential = Some(name.into()))
    }

    /// Lets the name resolve to private addresses within this CIDR range, such as `10.0.0.0/8`.
    #[must_use]
    pub fn private_range(self, cidr: impl Into<String>) -> Self {
        self.grant(|grant| grant.private_ranges.push(cidr.into()))
    }

    /// Replaces all values of a header. The host refuses edits of framing, hop-by-hop and `x-openshell-*` headers.
    #[must_use]
    pub fn set_header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.grant(|grant| grant.headers.push(HeaderEdit::Set((name.into(), value.into()))))
    }

    /// Removes a header.
    #[must_use]
    pub fn remove_header(self, name: impl Into<String>) -> Self {
        self.grant(|grant| grant.headers.push(HeaderEdit::Remove(name.into())))
    }

    /// Tells the caller what it could do instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Deny(denial) = &mut self {
            denial.hint = Some(hint.into());
        }
        self
    }

    /// Turns a denial into an allow that is recorded as the denial it would have been (audit mode). Anything else
    /// stays as it is.
    ///
    /// ```
    /// use openshell_policy_sdk::prelude::*;
    ///
    /// let verdict = Verdict::deny("no-deletes", "DELETE /items/1").audited();
    /// assert!(matches!(&verdict, Verdict::Allow(grant) if grant.audit.is_some()));
    /// ```
    #[must_use]
    pub fn audited(self) -> Self {
        match self {
            Self::Deny(denial) => Self::allow(denial.rule.clone()).grant(|grant| grant.audit = Some(denial)),
            other => other,
        }
    }

    fn grant(mut self, edit: impl FnOnce(&mut Grant)) -> Self {
        if let Self::Allow(grant) = &mut self {
            edit(grant);
        }
        self
    }
}

/// `abstain`, `allow <rule>` or `deny <rule>`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abstain => f.write_str("abstain"),
            Self::Allow(grant) => write!(f, "allow {}", grant.rule),
            Self::Deny(denial) => write!(f, "deny {}", denial.rule),
        }
    }
}

/// ```
/// use openshell_policy_sdk::prelude::*;
///
/// let denial = Denial::new("budget", "today's budget is spent").hint("ask for more, or wait until midnight UTC");
/// assert_eq!(denial.rule, "budget");
/// ```
impl Denial {
    /// A denial by `rule`, for this `reason` (one sentence).
    #[must_use]
    pub fn new(rule: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { rule: rule.into(), reason: reason.into(), hint: None }
    }

    /// Tells the caller what it could do instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
