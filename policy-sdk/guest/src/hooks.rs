//! The traits a policy implements.

use serde::de::DeserializeOwned;

use crate::{
    Backend, Connection, Constraints, Denial, Example, HttpRequest, HttpResponse, InferenceRequest, RouteDecision,
    Verdict, Workload,
};

/// A policy: deserialized from its settings when the gateway bakes it, and asked through the hooks it implements.
///
/// Settings are a JSON document that has passed [`SCHEMA`](Self::SCHEMA). Absent settings are `{}`.
///
/// ```
/// use openshell_policy_sdk::prelude::*;
///
/// #[derive(Deserialize)]
/// #[serde(default, deny_unknown_fields)]
/// struct OneHost {
///     host: String,
/// }
///
/// impl Default for OneHost {
///     fn default() -> Self {
///         Self { host: "api.test".into() }
///     }
/// }
///
/// impl Policy for OneHost {
///     fn prepare(&mut self) -> Result<(), String> {
///         if self.host.is_empty() { Err("host must not be empty".into()) } else { Ok(()) }
///     }
///
///     fn examples(&self) -> Vec<Example> {
///         vec![Example::allow(format!("connect {}:443", self.host)), Example::abstain("connect other.test:443")]
///     }
/// }
///
/// impl Connect for OneHost {
///     fn connect(&self, connection: &Connection) -> Verdict {
///         if connection.host == self.host { Verdict::allow("one-host") } else { Verdict::abstain() }
///     }
/// }
///
/// export!(OneHost: connect);
/// # let policy: OneHost = openshell_policy_sdk::testing::configure("{}").unwrap();
/// # openshell_policy_sdk::testing::run_examples(&policy, |p, ask| ask.connect(p));
/// ```
pub trait Policy: DeserializeOwned + Send + Sync + 'static {
    /// JSON Schema (draft 2020-12) of the settings. By default any object.
    const SCHEMA: &str = r#"{ "type": "object" }"#;

    /// Checks the settings and computes what hooks look up. Called once, before the snapshot: regexes, tables and
    /// indices belong here. What it refuses, in words, refuses the binding; nothing is changed then.
    fn prepare(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Fills lazy caches before the snapshot, so that no decision pays for them. Runs after `prepare`.
    fn warm_up(&self) {}

    /// Longest request body, in bytes, that [`view::body`](crate::view::body) shows. 0: bodies stream past unseen.
    fn body_cap(&self) -> u32 {
        0
    }

    /// Questions with known answers. They warm the policy up before the snapshot; and every sandbox asks them before
    /// it enforces the policy: a wrong answer refuses the whole change.
    fn examples(&self) -> Vec<Example> {
        Vec::new()
    }
}

/// Asked for each outbound connection, before its name is looked up.
///
/// ```
/// # use openshell_policy_sdk::prelude::*;
/// # struct OnlyHttps;
/// impl Connect for OnlyHttps {
///     fn connect(&self, connection: &Connection) -> Verdict {
///         match connection.port {
///             443 => Verdict::abstain(),
///             port => Verdict::deny("https-only", format!("port {port} is not 443")),
///         }
///     }
/// }
/// ```
pub trait Connect {
    /// Judges one connection.
    fn connect(&self, connection: &Connection) -> Verdict;
}

/// Asked for each HTTP request (HTTP/1.1, HTTP/2, a WebSocket's upgrade), after TLS termination.
///
/// ```
/// # use openshell_policy_sdk::prelude::*;
/// # struct NoDeletes;
/// impl Request for NoDeletes {
///     fn request(&self, _: &Connection, request: &HttpRequest) -> Verdict {
///         if request.method == "DELETE" {
///             return Verdict::deny("no-deletes", format!("DELETE {}", request.path)).hint("archive it with PATCH");
///         }
///         Verdict::abstain()
///     }
/// }
/// ```
pub trait Request {
    /// Judges one request.
    fn request(&self, connection: &Connection, request: &HttpRequest) -> Verdict;
}

/// Asked for each response head, before any of it reaches the workload. A denial replaces the response; otherwise it
/// passes. [`view::header`](crate::view::header) reads the response's headers here.
///
/// ```
/// # use openshell_policy_sdk::prelude::*;
/// # struct NoCookies;
/// impl Response for NoCookies {
///     fn response(&self, _: &Connection, _: &HttpRequest, _: &HttpResponse) -> Verdict {
///         Verdict::allow("no-cookies").remove_header("set-cookie")
///     }
/// }
/// ```
pub trait Response {
    /// Judges one response head.
    fn response(&self, connection: &Connection, request: &HttpRequest, response: &HttpResponse) -> Verdict;
}

/// Asked before the workload starts. Declared by the contract; no sandbox calls it yet.
///
/// ```
/// # use openshell_policy_sdk::prelude::*;
/// # struct Home;
/// impl Launch for Home {
///     fn launch(&self, _: &Workload) -> Result<Constraints, String> {
///         Ok(Constraints { read_only: vec!["/usr".into()], read_write: vec!["/tmp".into()], user: None, strict: true })
///     }
/// }
/// ```
pub trait Launch {
    /// Says what the workload may touch, or why it must not start.
    fn launch(&self, workload: &Workload) -> Result<Constraints, String>;
}

/// Asked for each inference request at `https://inference.local`.
///
/// ```
/// # use openshell_policy_sdk::prelude::*;
/// # struct Cheapest;
/// impl Route for Cheapest {
///     fn route(&self, request: &InferenceRequest, backends: &[Backend]) -> Result<RouteDecision, Denial> {
///         let mut order: Vec<u32> = (0..backends.len() as u32).collect();
///         order.retain(|&i| backends[i as usize].clearance >= request.so_far);
///         order.sort_by_key(|&i| backends[i as usize].input_price);
///         if order.is_empty() {
///             return Err(Denial::new("cheapest", "no backend is cleared for this session"));
///         }
///         Ok(RouteDecision {
///             sensitivity: request.so_far,
///             findings: Vec::new(),
///             order,
///             redact: false,
///             reason: "cheapest cleared backend".into(),
///         })
///     }
/// }
/// ```
pub trait Route {
    /// Orders the backends, best first, as indices into `backends`; or denies. The host checks each backend's
    /// clearance again.
    fn route(&self, request: &InferenceRequest, backends: &[Backend]) -> Result<RouteDecision, Denial>;
}
