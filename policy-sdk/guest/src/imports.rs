//! What a policy may read or tell beyond its arguments. On `wasm32` these are the contract's imports; elsewhere the
//! doubles of [`testing`](crate::testing).

#[cfg(target_arch = "wasm32")]
use crate::bindings::openshell::policy as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host;

/// More about the message at hand, fetched only when asked for.
///
/// ```
/// use openshell_policy_sdk::{testing, view};
///
/// # testing::ask("GET https://api.test/").header("Accept", "text/plain").during(|| {
/// if view::header("accept").is_some_and(|accept| accept.starts_with("text/")) {
///     // …
/// }
/// # });
/// ```
pub mod view {
    use super::host;

    /// First value of a header; names are compared without case. In the `response` hook: of the response.
    #[must_use]
    pub fn header(name: &str) -> Option<String> {
        host::view::header(name)
    }

    /// All headers, in order. One call to the host.
    ///
    /// ```
    /// # use openshell_policy_sdk::{testing, view};
    /// testing::ask("GET https://api.test/").header("a", "1").header("b", "2").during(|| {
    ///     assert_eq!(view::headers(), [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
    /// });
    /// ```
    #[must_use]
    pub fn headers() -> Vec<(String, String)> {
        let block = host::view::headers();
        let mut parts = block.split(|&byte| byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
        let mut headers = Vec::new();
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            headers.push((name, value));
        }
        headers
    }

    /// The request's body; `None` when it is longer than [`Policy::body_cap`](crate::Policy::body_cap) (or that is 0).
    /// A policy that must see bodies denies then.
    ///
    /// ```
    /// # use openshell_policy_sdk::{testing, view};
    /// testing::ask("POST https://api.test/").body("secret").during(|| {
    ///     assert_eq!(view::body().as_deref(), Some(b"secret".as_slice()));
    /// });
    /// ```
    #[must_use]
    pub fn body() -> Option<Vec<u8>> {
        host::view::body()
    }

    /// Arguments of the calling process.
    ///
    /// ```
    /// # use openshell_policy_sdk::{testing, view};
    /// testing::ask("connect api.test:443").arguments(["git", "push"]).during(|| {
    ///     assert!(view::arguments().iter().any(|argument| argument == "push"));
    /// });
    /// ```
    #[must_use]
    pub fn arguments() -> Vec<String> {
        host::view::arguments()
    }

    /// Executables of the calling process's ancestors, nearest first.
    ///
    /// ```
    /// # use openshell_policy_sdk::{testing, view};
    /// testing::ask("connect api.test:443").ancestors(["/usr/bin/bash"]).during(|| {
    ///     assert_eq!(view::ancestors(), ["/usr/bin/bash"]);
    /// });
    /// ```
    #[must_use]
    pub fn ancestors() -> Vec<String> {
        host::view::ancestors()
    }

    /// Value of a label of the sandbox.
    ///
    /// ```
    /// # use openshell_policy_sdk::{testing, view};
    /// testing::ask("connect api.test:443").label("team", "tools").during(|| {
    ///     assert_eq!(view::label("team").as_deref(), Some("tools"));
    /// });
    /// ```
    #[must_use]
    pub fn label(name: &str) -> Option<String> {
        host::view::label(name)
    }
}

/// Lines for the policy's log, which `openshell sandbox logs` shows. Never part of a verdict.
///
/// ```
/// use openshell_policy_sdk::{log, testing};
///
/// log::warn("about to give up");
/// assert_eq!(testing::take_log(), ["warn: about to give up"]);
/// ```
pub mod log {
    use super::host::log::{Level, emit};

    /// For the policy's author.
    pub fn debug(message: impl AsRef<str>) {
        emit(Level::Debug, message.as_ref());
    }

    /// For the operator.
    pub fn info(message: impl AsRef<str>) {
        emit(Level::Info, message.as_ref());
    }

    /// Something an operator should look at.
    pub fn warn(message: impl AsRef<str>) {
        emit(Level::Warn, message.as_ref());
    }

    /// Something that is wrong.
    pub fn error(message: impl AsRef<str>) {
        emit(Level::Error, message.as_ref());
    }
}

/// Time. A policy that uses it is no longer a function of its inputs: its verdicts are not memoized.
///
/// ```
/// use openshell_policy_sdk::{clock, testing};
///
/// testing::set_clock(3_600_000);
/// assert_eq!(clock::now() / 3_600_000, 1, "one hour after the epoch");
/// ```
pub mod clock {
    use super::host;

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn now() -> u64 {
        host::clock::now()
    }
}

/// Counters that the host keeps per sandbox and policy over sliding windows; they survive a swap of the policy. A
/// policy that uses them is not memoized.
///
/// ```
/// use openshell_policy_sdk::counters;
///
/// counters::add("calls", 1, 60);
/// assert!(counters::add("calls", 1, 60) == 2, "two within the last minute");
/// ```
pub mod counters {
    use super::host;

    /// Adds `amount` to the counter `key`, and answers its sum over the last `window` seconds. An amount of 0 only
    /// reads.
    pub fn add(key: &str, amount: u64, window: u32) -> u64 {
        host::counters::add(key, amount, window)
    }
}
