//! Chains: what several policies' answers come to.
//!
//! **Any deny wins; else one allow is needed; else deny.** Order never matters. A ceiling that is not empty must end in
//! allow as well.
//!
//! - A failure counts as a deny. Among several denials, the ceiling's come before the own chain's, denials before
//!   failures, and the smallest binding name first.
//! - A policy that has no `request` hook answers a request with what it answers on `connect`.
//! - A policy that has `request` but no `connect`: if nobody denies and nobody allows the connection, it counts as an
//!   allow with [`Inspection::Required`]: nothing is dialled or looked up before a request is allowed.
//! - `response`: any deny or failure wins, else it passes; policies without the hook have no say.
//! - Several allows merge: strictest inspection; private ranges: union within a chain, intersection between the ceiling
//!   and the own chain; header edits: union. Two different credentials, or two different edits of one header, are a
//!   conflict, which denies.
//! - The grant's rule and its author are the own chain's, from the allowing policy with the smallest binding name.
//! - Every policy is asked, whatever another one says: a counter counts the same in any order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::policy::{Policy, PolicyRef};
use crate::types::{Connection, Denial, Grant, HttpRequest, HttpResponse};
use crate::view::View;

/// A ceiling and a sandbox's own chain.
#[derive(Debug, Clone, Default)]
pub struct Chains {
    /// Gateway-wide policies; empty: no ceiling.
    pub ceiling: Vec<Policy>,
    /// The sandbox's own policies; empty: everything is denied.
    pub own: Vec<Policy>,
}

/// What the chains came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Allowed, on these terms.
    Allow(Grant),
    /// Denied by a policy.
    Deny(Denial),
    /// Denied, because a policy did not answer.
    Failed(Failure),
    /// Denied, because nobody allowed it.
    Unanswered,
    /// Denied, because two policies allowed it on terms that exclude each other.
    Conflict(String),
}

/// One decision.
#[derive(Debug, Clone)]
pub struct Decision {
    /// What was decided.
    pub outcome: Outcome,
    /// By which policy; absent where none decided.
    pub by: Option<PolicyRef>,
    /// Every answer was remembered.
    pub memoized: bool,
    /// How long it took.
    pub elapsed: Duration,
}

impl Chains {
    /// Decides about a connection.
    pub fn connect(&self, connection: &Connection, view: &Arc<dyn View>) -> Decision {
        let _ = (connection, view);
        self.nothing()
    }

    /// Decides about an HTTP request.
    pub fn request(&self, connection: &Connection, request: &HttpRequest, view: &Arc<dyn View>) -> Decision {
        let _ = (connection, request, view);
        self.nothing()
    }

    /// Decides about the head of a response.
    pub fn response(
        &self,
        connection: &Connection,
        request: &HttpRequest,
        response: HttpResponse,
        view: &Arc<dyn View>,
    ) -> Decision {
        let _ = (connection, request, response, view);
        self.nothing()
    }

    /// Longest request body that any policy with the `request` hook wants to see, in bytes.
    pub fn body_cap(&self) -> u32 {
        0
    }

    fn nothing(&self) -> Decision {
        let start = Instant::now();
        Decision { outcome: Outcome::Unanswered, by: None, memoized: false, elapsed: start.elapsed() }
    }
}
