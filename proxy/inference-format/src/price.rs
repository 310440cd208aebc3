//! What tokens cost.

use openshell_api::inference::Backend;
pub use openshell_api::inference::dollars;

/// Tokens of a request and its answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// All of the input.
    pub input: u64,
    /// Of the input: what a prompt cache held.
    pub cached: u64,
    /// Of the input: what was written to a prompt cache.
    pub written: u64,
    /// The output.
    pub output: u64,
}

/// What a backend asks for a million tokens, in millionths of a dollar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prices {
    input: u64,
    cached: u64,
    written: u64,
    output: u64,
}

impl Prices {
    /// A backend's.
    pub fn of(backend: &Backend) -> Self {
        Self {
            input: backend.input_price,
            cached: backend.cached_input_price.unwrap_or(backend.input_price),
            written: backend.cache_write_price.unwrap_or(backend.input_price),
            output: backend.output_price,
        }
    }

    /// Price of so many tokens, in millionths of a millionth of a dollar: exact, nothing is rounded.
    pub fn cost(self, tokens: Tokens) -> u128 {
        let cached = tokens.cached.min(tokens.input);
        let written = tokens.written.min(tokens.input - cached);
        let fresh = tokens.input - cached - written;
        [(fresh, self.input), (cached, self.cached), (written, self.written), (tokens.output, self.output)]
            .into_iter()
            .map(|(tokens, price)| u128::from(tokens) * u128::from(price))
            .sum()
    }

    /// The most that so many tokens may cost, whatever of them is cached or written.
    pub fn most(self, input: u64, output: u64) -> u128 {
        u128::from(input) * u128::from(self.input.max(self.written).max(self.cached))
            + u128::from(output) * u128::from(self.output)
    }
}
