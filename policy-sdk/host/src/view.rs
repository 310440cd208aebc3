//! What a policy may read beyond its arguments.

use bytes::Bytes;

/// More about the message at hand, fetched only when a policy asks. Implementations answer the same thing each time
/// they are asked during one decision.
pub trait View: Send + Sync {
    /// First value of a header; `name` is compared without case.
    fn header(&self, name: &str) -> Option<String>;
    /// Names and values, in order, as one block: `name\0value\0…`.
    fn headers(&self) -> Vec<u8>;
    /// The body, if it is no longer than the cap the policy declared.
    fn body(&self) -> Option<Bytes>;
    /// Arguments of the calling process.
    fn arguments(&self) -> Vec<String>;
    /// Executables of its ancestors, nearest first.
    fn ancestors(&self) -> Vec<String>;
    /// Value of a label of the sandbox.
    fn label(&self, name: &str) -> Option<String>;
}

/// A view with nothing in it.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoView;

impl View for NoView {
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
        Vec::new()
    }
    fn ancestors(&self) -> Vec<String> {
        Vec::new()
    }
    fn label(&self, _name: &str) -> Option<String> {
        None
    }
}
