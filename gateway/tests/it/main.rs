//! The gateway as its callers and its supervisors see it. One program: what they share is compiled once.

#[path = "world/process.rs"]
mod process;
#[macro_use]
mod world;

mod api;
mod audit;
mod authority;
mod away;
mod backups;
mod exports;
mod identities;
mod inference;
mod lifecycle;
mod logs;
mod postgresql;
mod proposals;
mod providers;
mod publishers;
mod pushes;
mod puts;
mod repeated;
mod replicas;
mod rollouts;
mod runtimes;
mod signing;
mod supervisors;
mod turns;
