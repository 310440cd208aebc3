//! What policies may read of a connection and of a message.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use openshell_policy_host::View;

use crate::caller::Caller;

/// The caller and the sandbox's labels: all there is to see of a connection.
#[derive(Debug, Clone)]
pub(super) struct CallerView {
    pub(super) caller: Arc<Caller>,
    pub(super) labels: Arc<BTreeMap<String, String>>,
}

/// A message besides.
#[derive(Debug)]
pub(super) struct MessageView {
    pub(super) caller: CallerView,
    pub(super) headers: HeaderMap,
    /// Absent: longer than the cap, or no policy asked for bodies.
    pub(super) body: Option<Bytes>,
}

impl View for CallerView {
    fn header(&self, _name: &str) -> Option<String> {
        None
    }
    fn headers(&self) -> Vec<u8> {
        Vec::new()
    }
    fn body(&self) -> Option<Bytes> {
        None
    }
    fn arguments(&self) -> Vec<String> {
        self.caller.arguments.clone()
    }
    fn ancestors(&self) -> Vec<String> {
        self.caller.ancestors.clone()
    }
    fn label(&self, name: &str) -> Option<String> {
        self.labels.get(name).cloned()
    }
}

impl View for MessageView {
    fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }
    fn headers(&self) -> Vec<u8> {
        let size = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 2).sum();
        let mut block = Vec::with_capacity(size);
        for (name, value) in &self.headers {
            block.extend_from_slice(name.as_str().as_bytes());
            block.push(0);
            block.extend_from_slice(value.as_bytes());
            block.push(0);
        }
        block
    }
    fn body(&self) -> Option<Bytes> {
        self.body.clone()
    }
    fn arguments(&self) -> Vec<String> {
        self.caller.arguments()
    }
    fn ancestors(&self) -> Vec<String> {
        self.caller.ancestors()
    }
    fn label(&self, name: &str) -> Option<String> {
        self.caller.label(name)
    }
}
