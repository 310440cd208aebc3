//! Lists, a page at a time, and the headers of calls that may be repeated or must not overwrite.

use serde::{Deserialize, Serialize};

/// A part of a list. What is added or removed meanwhile moves nothing: a page begins after the last item of the page before, wherever
/// that stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// `cursor` of the call that goes on; absent: this was the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The same with each item in another form.
    pub fn map<U>(self, form: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(form).collect(), next: self.next }
    }
}

/// Items of a page, unless a call says how many.
pub const DEFAULT_LIMIT: u32 = 100;
/// Most items of a page of most lists.
pub const MAX_LIMIT: u32 = 1000;
/// Most items of a page of what sandboxes report: decisions, log lines.
pub const MAX_RECORDS: u32 = 10_000;

/// Header of a POST that takes effect once, however often it is sent.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Header of an answer that was given before.
pub const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";
