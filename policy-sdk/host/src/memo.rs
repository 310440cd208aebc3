//! Remembered verdicts of pure policies.
//!
//! A verdict is remembered under everything its policy could have known: the eager arguments byte for byte, and what it
//! read of the view. A hit needs both to be the same again. Nothing is decided by a hash.

use std::cell::RefCell;
use std::sync::Arc;

use moka::sync::Cache;

use crate::reads::{Read, ReadNames, Reads};
use crate::types::{Capture, Connection, HttpRequest, HttpResponse, Scheme, Verdict};
use crate::view::View;

/// Different views remembered for the same arguments; then the oldest goes.
const MAX_VARIANTS: usize = 8;
/// What an entry costs beyond its bytes. It bounds their number.
const OVERHEAD: usize = 256;

struct Variant {
    reads: Vec<Read>,
    names: ReadNames,
    size: usize,
    verdict: Arc<Verdict>,
}

/// Every verdict for the same arguments, by what was read. Replaced whole, never changed.
type Entry = Arc<[Arc<Variant>]>;

/// A question that is answered with a verdict.
#[derive(Clone, Copy)]
pub(crate) enum Question<'a> {
    Connect(&'a Connection),
    Request(&'a Connection, &'a HttpRequest),
    Response(&'a Connection, &'a HttpRequest, HttpResponse),
}

/// Remembered verdicts of one policy, bounded in bytes, and by the overhead each entry counts for in number.
pub(crate) struct Memo {
    entries: Cache<Box<[u8]>, Entry, ahash::RandomState>,
}

impl Memo {
    #[allow(clippy::borrowed_box, reason = "the cache's signature")]
    pub(crate) fn new(bytes: u64) -> Self {
        let entries = Cache::builder()
            .max_capacity(bytes)
            .weigher(|key: &Box<[u8]>, entry: &Entry| {
                let size = entry.iter().map(|variant| variant.size).sum::<usize>();
                u32::try_from(OVERHEAD + key.len() + size).unwrap_or(u32::MAX)
            })
            .build_with_hasher(ahash::RandomState::new());
        Self { entries }
    }

    /// The verdict that was given when everything was as it is now.
    pub(crate) fn get(&self, question: Question<'_>, view: &dyn View) -> Option<(Arc<Verdict>, ReadNames)> {
        let entry = question.with_key(|key| self.entries.get(key))?;
        let variant = entry.iter().find(|variant| variant.reads.iter().all(|read| read.same(view)))?;
        Some((Arc::clone(&variant.verdict), variant.names.clone()))
    }

    /// Remembers a verdict, unless it depends on more than can be remembered.
    pub(crate) fn put(&self, question: Question<'_>, reads: Reads, names: &ReadNames, verdict: &Arc<Verdict>) {
        let Some((reads, size)) = reads.whole() else { return };
        let size = size + names.size() + verdict_size(verdict);
        let variant = Arc::new(Variant { reads, names: names.clone(), size, verdict: Arc::clone(verdict) });
        question.with_key(|key| {
            let old = self.entries.get(key);
            let old = old.as_deref().unwrap_or_default().iter();
            let kept = old.filter(|other| other.reads != variant.reads).take(MAX_VARIANTS - 1).cloned();
            let entry: Entry = std::iter::once(Arc::clone(&variant)).chain(kept).collect();
            self.entries.insert(key.into(), entry);
        });
    }
}

fn verdict_size(verdict: &Verdict) -> usize {
    size_of::<Verdict>()
        + match verdict {
            Verdict::Abstain => 0,
            Verdict::Allow(grant) => {
                grant.rule.len()
                    + grant.credential.as_ref().map_or(0, String::len)
                    + grant.private_ranges.iter().map(|range| range.len() + size_of::<String>()).sum::<usize>()
                    + grant.headers.len() * 128
                    + grant.audit.as_ref().map_or(0, |denial| denial.rule.len() + denial.reason.len())
            }
            Verdict::Deny(denial) => {
                denial.rule.len() + denial.reason.len() + denial.hint.as_ref().map_or(0, String::len)
            }
        }
}

thread_local! {
    static KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Question<'_> {
    /// Calls `f` with all that a policy is told, in one unambiguous row of bytes.
    fn with_key<T>(self, f: impl FnOnce(&[u8]) -> T) -> T {
        KEY.with_borrow_mut(|key| {
            key.clear();
            match self {
                Self::Connect(connection) => {
                    key.push(0);
                    put_connection(key, connection);
                }
                Self::Request(connection, request) => {
                    key.push(1);
                    put_connection(key, connection);
                    put_request(key, request);
                }
                Self::Response(connection, request, response) => {
                    key.push(2);
                    put_connection(key, connection);
                    put_request(key, request);
                    key.extend_from_slice(&response.status.to_le_bytes());
                }
            }
            f(key)
        })
    }
}

fn put(key: &mut Vec<u8>, text: &str) {
    key.extend_from_slice(&text.len().to_le_bytes());
    key.extend_from_slice(text.as_bytes());
}

fn put_option(key: &mut Vec<u8>, text: Option<&str>) {
    key.push(u8::from(text.is_some()));
    put(key, text.unwrap_or_default());
}

fn put_connection(key: &mut Vec<u8>, connection: &Connection) {
    let Connection { sandbox, process, host, port, capture } = connection;
    put(key, sandbox);
    put(key, &process.executable);
    put(key, &process.digest);
    put_option(key, process.script.as_deref());
    put(key, host);
    key.extend_from_slice(&port.to_le_bytes());
    key.push(match capture {
        Capture::Transparent => 0,
        Capture::Tunnel => 1,
        Capture::Forward => 2,
    });
}

fn put_request(key: &mut Vec<u8>, request: &HttpRequest) {
    let HttpRequest { method, scheme, path, query } = request;
    put(key, method);
    key.push(match scheme {
        Scheme::Http => 0,
        Scheme::Https => 1,
    });
    put(key, path);
    put_option(key, query.as_deref());
}
