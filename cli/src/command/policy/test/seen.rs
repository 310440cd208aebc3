//! A view that is written down.

use std::collections::BTreeMap;

use bytes::Bytes;
use openshell_policy_host::View;

/// What a policy may read, all of it known beforehand.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body; absent: longer than the policy wants to see.
    pub body: Option<Bytes>,
    /// Arguments of the calling process.
    pub arguments: Vec<String>,
    /// Its ancestors' executables, nearest first.
    pub ancestors: Vec<String>,
    /// Labels of the sandbox.
    pub labels: BTreeMap<String, String>,
}

impl View for Seen {
    fn header(&self, name: &str) -> Option<String> {
        self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    }
    fn headers(&self) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in &self.headers {
            block.extend_from_slice(name.to_ascii_lowercase().as_bytes());
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
        self.arguments.clone()
    }
    fn ancestors(&self) -> Vec<String> {
        self.ancestors.clone()
    }
    fn label(&self, name: &str) -> Option<String> {
        self.labels.get(name).cloned()
    }
}
