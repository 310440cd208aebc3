//! Check digits.

/// Luhn (ISO/IEC 7812-1, annex B).
pub fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, &d)| if i % 2 == 0 { u32::from(d) } else { [0, 2, 4, 6, 8, 1, 3, 5, 7, 9][usize::from(d)] })
        .sum();
    sum.is_multiple_of(10)
}

/// Σ digit × weight.
pub fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(&d, &w)| u32::from(d) * w).sum()
}

/// The digits as one number. At most 18 of them.
pub fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |n, &d| n * 10 + u64::from(d))
}

/// Remainder modulo 97 of letters and digits, letters counting 10–35 (ISO/IEC 7064, MOD 97-10).
pub fn mod97(alphanumeric: impl Iterator<Item = u8>) -> u32 {
    alphanumeric.fold(0, |r, b| match b {
        b'0'..=b'9' => (r * 10 + u32::from(b - b'0')) % 97,
        _ => (r * 100 + u32::from(b.to_ascii_uppercase().saturating_sub(b'A')) + 10) % 97,
    })
}

/// ISO/IEC 7064, MOD 11,10 (German tax numbers).
pub fn mod11_10(digits: &[u8]) -> bool {
    let Some((&check, body)) = digits.split_last() else { return false };
    let product = body.iter().fold(10u32, |p, &d| {
        let sum = (u32::from(d) + p) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == u32::from(check)
}

/// Verhoeff's dihedral check (Aadhaar).
pub fn verhoeff(digits: &[u8]) -> bool {
    const P: [[u8; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    // Multiplication in the dihedral group D5.
    let times = |a: u8, b: u8| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b - 5) % 5,
        (false, true) => 5 + (a - b) % 5,
        (false, false) => (5 + a - b) % 5,
    };
    digits.iter().rev().enumerate().fold(0, |c, (i, &d)| times(c, P[i % 8][usize::from(d)])) == 0
}

/// A day that exists, year unknown.
pub fn day_exists(month: u64, day: u64) -> bool {
    matches!(month, 1..=12) && (1..=[31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1]).contains(&day)
}
