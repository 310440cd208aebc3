//! Lifecycle of a sandbox and its link to the gateway.
