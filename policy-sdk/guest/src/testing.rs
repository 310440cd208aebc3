//! Runs a policy natively, in plain `cargo test`. Not there on `wasm32`.
//!
//! ```
//! use openshell_policy_sdk::{prelude::*, testing};
//!
//! #[derive(Deserialize)]
//! struct JsonOnly {}
//!
//! impl Policy for JsonOnly {}
//!
//! impl Request for JsonOnly {
//!     fn request(&self, _: &Connection, _: &HttpRequest) -> Verdict {
//!         match view::header("content-type").as_deref() {
//!             Some("application/json") => Verdict::allow("json"),
//!             _ => Verdict::deny("json", "only JSON may be sent"),
//!         }
//!     }
//! }
//!
//! let policy: JsonOnly = testing::configure("{}").unwrap();
//! let ask = testing::ask("POST https://api.test/items");
//! assert_eq!(ask.clone().request(&policy).to_string(), "deny json");
//! assert_eq!(ask.header("content-type", "application/json").request(&policy).to_string(), "allow json");
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::example::{self, Question};
use crate::{
    Connect, Connection, Example, Expectation, HttpRequest, HttpResponse, Policy, Request, Response, Verdict, export,
};

/// Makes a policy of settings as the gateway does: deserialize, [`Policy::prepare`], [`Policy::warm_up`].
///
/// ```
/// use openshell_policy_sdk::{prelude::*, testing};
///
/// #[derive(Debug, Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Strict {}
/// impl Policy for Strict {}
///
/// let refused = testing::configure::<Strict>(r#"{ "hots": 1 }"#).unwrap_err();
/// assert!(refused.contains("unknown field `hots`"));
/// ```
pub fn configure<P: Policy>(settings: &str) -> Result<P, String> {
    let policy = export::from_settings::<P>(settings)?;
    policy.warm_up();
    Ok(policy)
}

/// Asks a question, written as in [`Example`]: `GET https://api.test/x by /usr/bin/curl`, `connect api.test:443`.
///
/// # Panics
///
/// On a line that is neither.
#[must_use]
pub fn ask(line: &str) -> Ask {
    Ask { question: example::parse(line), view: View::default() }
}

/// A question, and what the policy can see while it answers.
#[derive(Debug, Clone)]
pub struct Ask {
    question: Question,
    view: View,
}

impl Ask {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.view.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.view.body = Some(body.as_ref().to_vec());
        self
    }

    /// Sets the calling process's arguments.
    #[must_use]
    pub fn arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.view.arguments = arguments.into_iter().map(str::to_owned).collect();
        self
    }

    /// Sets the calling process's ancestors, nearest first.
    #[must_use]
    pub fn ancestors<'a>(mut self, ancestors: impl IntoIterator<Item = &'a str>) -> Self {
        self.view.ancestors = ancestors.into_iter().map(str::to_owned).collect();
        self
    }

    /// Sets a label of the sandbox.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.view.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The connection asked about.
    #[must_use]
    pub fn connection(&self) -> Connection {
        self.question.connection.clone()
    }

    /// The request asked about.
    ///
    /// # Panics
    ///
    /// If the line was `connect …`.
    #[must_use]
    pub fn http_request(&self) -> HttpRequest {
        self.question.request.clone().expect("the question is about a connection, not a request")
    }

    /// Whether the question is about a request, rather than a connection.
    #[must_use]
    pub fn is_request(&self) -> bool {
        self.question.request.is_some()
    }

    /// The policy's answer to the connection.
    #[must_use]
    pub fn connect<P: Connect>(self, policy: &P) -> Verdict {
        let connection = self.connection();
        self.during(|| policy.connect(&connection))
    }

    /// The policy's answer to the request. Panics if the line was `connect …`.
    #[must_use]
    pub fn request<P: Request>(self, policy: &P) -> Verdict {
        let (connection, request) = (self.connection(), self.http_request());
        self.during(|| policy.request(&connection, &request))
    }

    /// The policy's answer to a response of this status. Panics if the line was `connect …`.
    #[must_use]
    pub fn response<P: Response>(self, status: u16, policy: &P) -> Verdict {
        let (connection, request) = (self.connection(), self.http_request());
        self.during(|| policy.response(&connection, &request, &HttpResponse { status }))
    }

    /// Runs anything with this question's view in place.
    pub fn during<R>(self, run: impl FnOnce() -> R) -> R {
        let before = VIEW.replace(self.view);
        let result = run();
        VIEW.set(before);
        result
    }
}

/// Asks a policy its own examples; `answer` says which hook answers.
///
/// # Panics
///
/// On the first wrong answer, with the question.
pub fn run_examples<P: Policy>(policy: &P, answer: impl Fn(&P, Ask) -> Verdict) {
    for example in policy.examples() {
        let Example { connection, request, expect } = example;
        let ask = Ask { question: Question { connection, request }, view: View::default() };
        let verdict = answer(policy, ask.clone());
        let found = match verdict {
            Verdict::Abstain => Expectation::Abstain,
            Verdict::Allow(_) => Expectation::Allow,
            Verdict::Deny(_) => Expectation::Deny,
        };
        assert!(found == expect, "expected {expect:?}, found {verdict:?}, asked {:?}", ask.question);
    }
}

/// Sets what [`clock::now`](crate::clock::now) answers on this thread, and what counters' windows go by.
pub fn set_clock(milliseconds: u64) {
    CLOCK.set(milliseconds);
}

/// Takes what was logged on this thread, as `level: message`.
#[must_use]
pub fn take_log() -> Vec<String> {
    LOG.take()
}

#[derive(Debug, Clone, Default)]
struct View {
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    arguments: Vec<String>,
    ancestors: Vec<String>,
    labels: BTreeMap<String, String>,
}

/// Amounts and when they were added, in milliseconds.
type Window = Vec<(u64, u64)>;

thread_local! {
    static VIEW: RefCell<View> = RefCell::default();
    static CLOCK: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    static LOG: RefCell<Vec<String>> = RefCell::default();
    static COUNTERS: RefCell<BTreeMap<String, Window>> = RefCell::default();
}

/// Doubles of the contract's imports, in the generated bindings' shape.
pub(crate) mod host {
    pub(crate) mod view {
        use crate::testing::VIEW;

        pub(crate) fn header(name: &str) -> Option<String> {
            VIEW.with_borrow(|view| {
                view.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
            })
        }
        pub(crate) fn headers() -> Vec<u8> {
            VIEW.with_borrow(|view| {
                view.headers.iter().flat_map(|(n, v)| [n.as_bytes(), b"\0", v.as_bytes(), b"\0"].concat()).collect()
            })
        }
        pub(crate) fn body() -> Option<Vec<u8>> {
            VIEW.with_borrow(|view| view.body.clone())
        }
        pub(crate) fn arguments() -> Vec<String> {
            VIEW.with_borrow(|view| view.arguments.clone())
        }
        pub(crate) fn ancestors() -> Vec<String> {
            VIEW.with_borrow(|view| view.ancestors.clone())
        }
        pub(crate) fn label(name: &str) -> Option<String> {
            VIEW.with_borrow(|view| view.labels.get(name).cloned())
        }
    }

    pub(crate) mod log {
        pub(crate) use crate::bindings::openshell::policy::log::Level;

        pub(crate) fn emit(level: Level, message: &str) {
            let level = match level {
                Level::Debug => "debug",
                Level::Info => "info",
                Level::Warn => "warn",
                Level::Error => "error",
            };
            crate::testing::LOG.with_borrow_mut(|log| log.push(format!("{level}: {message}")));
        }
    }

    pub(crate) mod clock {
        pub(crate) fn now() -> u64 {
            crate::testing::CLOCK.get()
        }
    }

    pub(crate) mod counters {
        use crate::testing::{CLOCK, COUNTERS};

        pub(crate) fn add(key: &str, amount: u64, window: u32) -> u64 {
            let now = CLOCK.get();
            COUNTERS.with_borrow_mut(|counters| {
                let entries = counters.entry(key.to_owned()).or_default();
                if amount > 0 {
                    entries.push((now, amount));
                }
                let since = now.saturating_sub(u64::from(window) * 1000);
                entries.iter().filter(|(at, _)| *at >= since).map(|(_, amount)| amount).sum()
            })
        }
    }
}
