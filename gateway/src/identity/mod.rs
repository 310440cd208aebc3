//! Who calls, and what they may do.
//!
//! A request shows something for itself ([`tokens`]); [`login`] says whose it is: a user's token or a supervisor's credential
//! (the store knows their hashes), or a JWT that [`jwt`] verifies. [`limits`] counts what fails. What a [`caller`] may do
//! is a value, the [`permit`]. [`users`] makes users and tokens; [`supervisors`] gives sandboxes their short-lived credentials.

pub mod caller;
pub mod jwt;
pub mod limits;
pub mod login;
pub mod permit;
pub mod supervisors;
pub mod tokens;
pub mod users;

pub use caller::{Caller, Source};
pub use login::{Identities, IdentityOptions, Principal};
pub use permit::{Actor, Administer, Operate, Permit, Read, Right};
