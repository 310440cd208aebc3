//! Everything but an answer, as its settings say: what a neighbour may have to live beside.

use std::hint::black_box;

use openshell_policy_sdk::prelude::*;

/// The policy.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hostile {
    /// Never ends.
    Loop {},
    /// Takes all the memory there is.
    Memory {},
    /// Panics.
    Panic {},
    /// Calls itself until the stack is full.
    Recursion {},
    /// Takes its time, and answers.
    Slow {},
}

impl Policy for Hostile {}

impl Request for Hostile {
    fn request(&self, _: &Connection, _: &HttpRequest) -> Verdict {
        match self {
            Self::Loop {} => loop {
                black_box(0);
            },
            Self::Memory {} => {
                let mut taken = Vec::new();
                loop {
                    taken.push(black_box(vec![1_u8; 1 << 16]));
                }
            }
            Self::Panic {} => panic!("on purpose"),
            Self::Recursion {} => Verdict::deny("recursion", deeper(0).to_string()),
            Self::Slow {} => {
                let sum = (0..5_000_000_u64).fold(0, |sum, n| black_box(sum ^ n));
                Verdict::deny("slow", sum.to_string())
            }
        }
    }
}

fn deeper(level: u64) -> u64 {
    let room = black_box([level; 32]);
    if room[0] == u64::MAX { 0 } else { deeper(level + 1) + room[0] }
}

export!(Hostile: request);
