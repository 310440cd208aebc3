//! The gateway: control plane of OpenShell.
//!
//! The modules follow a call: [`server`] accepts TLS, [`identity`] says who calls and what that one may do, [`http`] answers the REST
//! API, [`audit`] writes down what changed, [`push`] brings
//! new generations to sandboxes in two phases, [`link`] holds the WebSocket of each supervisor, [`runtime`] starts and
//! stops supervisors, `exports` sends decisions on, [`store`] keeps everything. [`gateway`] ties them together; [`state_dir`] owns the files.
//!
//! Workloads never talk to the gateway, and a supervisor's token opens nothing but `/v1/supervisor`.

pub mod audit;
mod authority;
mod backend_test;
pub mod backup;
pub mod bucket;
mod budgets;
pub mod error;
pub mod etag;
mod exports;
mod followers;
pub mod gateway;
pub mod http;
pub mod identity;
pub mod lifecycle;
pub mod link;
mod locks;
mod machines;
pub mod metrics;
pub mod modules;
pub mod proposals;
pub mod providers;
mod public_url;
pub mod push;
pub mod replicas;
mod resume;
pub mod rollout;
pub mod runtime;
pub mod secrets;
pub mod server;
pub mod shadow;
pub mod signing;
pub mod state_dir;
pub mod store;
pub mod tls;
mod upstream;

pub use gateway::{Gateway, Options, StartError};
pub use public_url::{InvalidPublicUrl, PublicUrl};
pub use server::Running;
pub use store::{DatabaseUrl, InvalidDatabaseUrl};
