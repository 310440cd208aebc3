//! What a policy may read beyond its arguments.

use std::sync::Arc;

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

/// A view whose body is no longer than one policy declared, where another one declared more.
pub(crate) struct Capped {
    view: Arc<dyn View>,
    cap: usize,
}

impl Capped {
    /// The view as a policy with this cap sees it, given the longest cap of its chain.
    pub(crate) fn of(view: &Arc<dyn View>, cap: u32, longest: u32) -> Arc<dyn View> {
        if cap == longest {
            return Arc::clone(view);
        }
        Arc::new(Self { view: Arc::clone(view), cap: cap as usize })
    }
}

impl View for Capped {
    fn header(&self, name: &str) -> Option<String> {
        self.view.header(name)
    }
    fn headers(&self) -> Vec<u8> {
        self.view.headers()
    }
    fn body(&self) -> Option<Bytes> {
        if self.cap == 0 {
            return None;
        }
        self.view.body().filter(|body| body.len() <= self.cap)
    }
    fn arguments(&self) -> Vec<String> {
        self.view.arguments()
    }
    fn ancestors(&self) -> Vec<String> {
        self.view.ancestors()
    }
    fn label(&self, name: &str) -> Option<String> {
        self.view.label(name)
    }
}
