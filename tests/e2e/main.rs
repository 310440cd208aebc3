//! Whole worlds through the command line: real binaries, real clients, real origins on loopback.

mod access;
mod bad_input;
mod clients;
mod crash;
mod docker;
mod faults;
mod first_light;
mod gateways;
mod inference;
mod inference_clients;
mod languages;
mod lifecycle;
mod proposals;
mod protocols;
mod registry;
mod replicas;
mod rollouts;
mod rules;
mod secrets;
mod servers;
mod ssh;
mod support;
mod team;
mod trust;
mod walls;
