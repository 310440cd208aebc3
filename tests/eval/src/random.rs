//! Reproducible chance: SplitMix64. The same seed makes the same cases everywhere.

/// A generator of numbers.
#[derive(Debug, Clone)]
pub struct Random(u64);

pub const DIGITS: &[u8] = b"0123456789";
pub const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
pub const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
pub const HEX: &[u8] = b"0123456789abcdef";
pub const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
pub const ALNUM: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
pub const URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
pub const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `from..=to`.
    pub fn range(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from + 1)
    }

    /// Whether one of `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    pub fn pick<'t, T: ?Sized>(&mut self, from: &[&'t T]) -> &'t T {
        from[self.next() as usize % from.len()]
    }

    /// `length` characters of an ASCII alphabet.
    pub fn text(&mut self, alphabet: &[u8], length: usize) -> String {
        (0..length).map(|_| alphabet[self.next() as usize % alphabet.len()] as char).collect()
    }

    /// `length` digits as numbers.
    pub fn digits(&mut self, length: usize) -> Vec<u32> {
        (0..length).map(|_| self.range(0, 9) as u32).collect()
    }

    /// A pattern filled in: `#` a digit, `@` a capital, `~` a small letter, `%` a hexadecimal digit, `*` a letter or digit.
    pub fn fill(&mut self, pattern: &str) -> String {
        pattern
            .chars()
            .map(|c| {
                let alphabet = match c {
                    '#' => DIGITS,
                    '@' => UPPER,
                    '~' => LOWER,
                    '%' => HEX,
                    '*' => ALNUM,
                    other => return other,
                };
                alphabet[self.next() as usize % alphabet.len()] as char
            })
            .collect()
    }
}
