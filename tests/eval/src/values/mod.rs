//! Values of every kind, valid by construction: check digits are computed here, by formulas of its own.

mod held_out;
mod identifiers;
mod personal;
mod secrets;

use crate::case::Family;
use crate::random::Random;

/// One kind of value: how to make one, and the words that people and programs put before it.
pub struct Kind {
    /// The router's name for it.
    pub name: &'static str,
    pub family: Family,
    pub make: fn(&mut Random) -> String,
    /// What detectors were tuned on: two sets, each chosen as often as the other.
    pub tuned: [Cues; 2],
    pub held_out: Cues,
    /// It brings its own surroundings: it is written by itself, on a line of its own.
    pub whole: bool,
}

/// Words in prose (`my card number`) and keys in data (`card_number`).
#[derive(Clone, Copy)]
pub struct Cues {
    pub words: &'static [&'static str],
    pub keys: &'static [&'static str],
}

/// Every kind that is evaluated.
pub fn all() -> Vec<Kind> {
    let mut kinds = secrets::kinds();
    kinds.extend(identifiers::kinds());
    kinds.extend(personal::kinds());
    kinds
}

fn kind(
    family: Family,
    name: &'static str,
    make: fn(&mut Random) -> String,
    one: (&'static [&'static str], &'static [&'static str]),
    other: (&'static [&'static str], &'static [&'static str]),
) -> Kind {
    let cues = |(words, keys)| Cues { words, keys };
    let tuned = [cues(one), cues(other)];
    Kind { name, family, make, tuned, held_out: held_out::cues(family, name), whole: false }
}
