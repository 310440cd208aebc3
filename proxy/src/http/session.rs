//! One connection to one destination: its facts, and the connect verdict that holds under the generation enforced.

use std::sync::{Arc, Mutex};

use openshell_api::decision::Stage;
use openshell_policy_host::{Capture, Connection, Process, Scheme};

use super::Proxy;
use super::destination::HostPort;
use super::judge::{Decide, Facts};
use super::permit::Permit;
use super::refusal::{Cause, Refusal};
use super::tls::Versions;
use super::upstream::{Origin, lock};
use super::view::CallerView;
use crate::caller::Caller;
use crate::{inference, policy_local};

/// What a connection is to its requests. Shared by all streams of an HTTP/2 connection.
pub(super) struct Session {
    pub(super) proxy: Arc<Proxy>,
    pub(super) facts: Arc<Facts>,
    pub(super) caller: CallerView,
    /// The name in the ClientHello, where it contradicts the destination.
    contradiction: Option<String>,
    known: bool,
    gate: Mutex<Option<Gate>>,
    way: Mutex<Option<Way>>,
}

/// Who answers what never leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Local {
    /// `inference.local`.
    Inference,
    /// `policy.local`.
    Policy,
}

/// The pool that its requests go through.
struct Way {
    scheme: Scheme,
    versions: Versions,
    origin: Arc<Origin>,
    /// Nobody else's requests do.
    own: bool,
}

impl Way {
    fn suits(&self, scheme: Scheme, versions: Versions) -> bool {
        (self.scheme, self.versions) == (scheme, versions)
    }
}

/// The connect verdict of one generation.
struct Gate {
    generation: u64,
    verdict: Result<Permit, Refusal>,
}

impl Session {
    /// `caller`: `None` is unknown, which every gate refuses.
    pub(super) fn new(
        proxy: &Arc<Proxy>,
        caller: Option<&Arc<Caller>>,
        host: &str,
        port: u16,
        capture: Capture,
    ) -> Arc<Self> {
        let known = caller.is_some();
        let caller = caller.cloned().unwrap_or_default();
        let connection = Connection {
            sandbox: proxy.sandbox.clone(),
            process: if known { caller.process.clone() } else { Process::default() },
            host: host.to_owned(),
            port,
            capture,
        };
        let view = CallerView { caller: Arc::clone(&caller), labels: Arc::clone(&proxy.labels) };
        let facts = Facts { connection, caller, view: Arc::new(view.clone()), recorder: Arc::clone(&proxy.recorder) };
        Arc::new(Self {
            proxy: Arc::clone(proxy),
            facts: Arc::new(facts),
            caller: view,
            contradiction: None,
            known,
            gate: Mutex::default(),
            way: Mutex::default(),
        })
    }

    /// The same connection, whose ClientHello named another host: every request of it is refused.
    pub(super) fn contradicted(&self, name: &str) -> Arc<Self> {
        Arc::new(Self {
            proxy: Arc::clone(&self.proxy),
            facts: Arc::clone(&self.facts),
            caller: self.caller.clone(),
            contradiction: Some(name.to_owned()),
            known: self.known,
            gate: Mutex::default(),
            way: Mutex::default(),
        })
    }

    pub(super) fn host(&self) -> &str {
        &self.facts.connection.host
    }

    pub(super) fn port(&self) -> u16 {
        self.facts.connection.port
    }

    /// Who answers its requests, where they are for the sandbox itself and not for the network.
    pub(super) fn local(&self) -> Option<Local> {
        if !self.known || self.contradiction.is_some() {
            return None;
        }
        match (self.host(), self.port()) {
            (inference::HOST, 80 | 443) => Some(Local::Inference),
            (policy_local::HOST, _) => Some(Local::Policy),
            _ => None,
        }
    }

    /// The connect verdict under this generation: asked once per connection and generation.
    pub(super) fn permit(&self, decide: &dyn Decide) -> Result<Permit, Refusal> {
        let generation = decide.generation();
        let mut gate = lock(&self.gate);
        if let Some(gate) = gate.as_ref().filter(|gate| gate.generation == generation) {
            return gate.verdict.clone();
        }
        let verdict = self.ask(decide);
        *gate = Some(Gate { generation, verdict: verdict.clone() });
        verdict
    }

    fn ask(&self, decide: &dyn Decide) -> Result<Permit, Refusal> {
        let refuse = |cause, detail| self.facts.refuse(Stage::Connect, decide.generation(), cause, detail);
        if !self.known {
            let destination = HostPort(self.host(), self.port());
            return Err(refuse(
                Cause::CallerUnknown,
                format!("the program that connects to {destination} could not be identified"),
            ));
        }
        if let Some(name) = &self.contradiction {
            return Err(Refusal {
                hint: Some("connect to the name that the request is for".to_owned()),
                ..refuse(
                    Cause::AuthorityMismatch,
                    format!("the connection goes to {}, but its TLS handshake names {name}", self.host()),
                )
            });
        }
        self.facts.connect(decide)
    }

    /// The pool for its destination, found once.
    pub(super) fn origin(&self, permit: &Permit, scheme: Scheme, versions: Versions) -> Arc<Origin> {
        let mut slot = lock(&self.way);
        if let Some(way) = slot.as_ref().filter(|way| way.suits(scheme, versions)) {
            return Arc::clone(&way.origin);
        }
        let origin = self.proxy.upstreams.origin(permit, scheme, versions);
        *slot = Some(Way { scheme, versions, origin: Arc::clone(&origin), own: false });
        origin
    }

    /// A pool of its own, from now on: what is logged in for a whole connection is nobody else's.
    pub(super) fn own_origin(&self, scheme: Scheme, versions: Versions) -> Arc<Origin> {
        let mut slot = lock(&self.way);
        let way = slot.take().filter(|way| way.own && way.suits(scheme, versions));
        let way = way.unwrap_or_else(|| Way { scheme, versions, origin: Arc::default(), own: true });
        Arc::clone(&slot.insert(way).origin)
    }
}
