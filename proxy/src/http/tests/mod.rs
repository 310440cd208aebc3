//! The proxy between real sockets: origins are hyper servers on loopback, clients are real ones or raw bytes.
//! Policies are closures here; real Wasm policies meet the proxy in the end-to-end tests.

mod again;
mod bypass;
mod distrust;
mod faults;
mod flows;
mod http2;
mod live;
mod reuse;
mod sent;
mod units;
mod world;
