//! The gateways that this user knows: where each is, how it is reached, and how one is brought up.
//!
//! ```text
//! book.rs, entry.rs   what is kept of each, in private files          place.rs   which one a command means
//! private.rs          files for their owner alone, whole or not at all
//! local/              on this machine: a process, a user service, a container
//! remote/             on a machine that has SSH and little else
//! login/              browser and device logins, and the sessions they make
//! ```

pub mod book;
pub mod endpoint;
pub mod entry;
pub mod local;
pub mod login;
mod place;
mod private;
pub mod remote;

pub use book::{Book, Secrets};
pub use entry::Entry;
pub use place::{LOCAL, Place, checked};
