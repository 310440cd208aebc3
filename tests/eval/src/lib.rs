//! Labelled requests of the repository's own making, and how well and how fast detectors read them.

pub mod case;
mod encode;
pub mod generate;
pub mod misses;
mod random;
pub mod report;
pub mod router;
mod score;
pub mod speed;
mod text;
mod values;

#[cfg(test)]
mod tests;
