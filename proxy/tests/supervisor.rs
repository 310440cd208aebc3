//! The whole supervisor, as the program that ships, against a gateway made for the tests: TLS, WebSocket, signatures,
//! policies, walls and programs are real.
//!
//! What needs a sealed sandbox is skipped, with a word, where neither root nor user namespaces are to be had.

#[path = "supervisor/exec.rs"]
mod exec;
#[path = "supervisor/gateway.rs"]
mod gateway;
#[path = "supervisor/lifecycle.rs"]
mod lifecycle;
#[path = "supervisor/pushes.rs"]
mod pushes;
#[path = "supervisor/signers.rs"]
mod signers;
#[path = "supervisor/walls.rs"]
mod walls;
#[path = "supervisor/world.rs"]
mod world;
