//! What tokens cost.

use openshell_api::inference::Backend;

/// Price of so many tokens on a backend, in millionths of a millionth of a dollar: exact, nothing is rounded.
pub fn cost(backend: &Backend, input_tokens: u64, output_tokens: u64) -> u128 {
    u128::from(input_tokens) * u128::from(backend.input_price)
        + u128::from(output_tokens) * u128::from(backend.output_price)
}

/// A cost in dollars, with as many of twelve decimals as it needs and at least two: `0.00`, `0.000123`.
pub fn dollars(cost: u128) -> String {
    const DOLLAR: u128 = 1_000_000_000_000;
    let fraction = format!("{:012}", cost % DOLLAR);
    format!("{}.{:0<2}", cost / DOLLAR, fraction.trim_end_matches('0'))
}
