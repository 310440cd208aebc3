//! Small questions about bytes of text that every detector asks.

/// Letters, digits and any byte of a multi-byte character: what words are made of.
pub fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b >= 0x80
}

/// The byte before `at`.
pub fn before(text: &[u8], at: usize) -> Option<u8> {
    at.checked_sub(1).and_then(|i| text.get(i)).copied()
}

/// First position at or after `at` whose byte does not satisfy `keep`.
pub fn run(text: &[u8], at: usize, keep: impl Fn(u8) -> bool) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(|&b| !keep(b)).unwrap_or(rest.len())
}

/// [`run`], looking at `most` bytes at most: for values whose length is bounded, so that long texts cost what they measure.
pub fn short_run(text: &[u8], at: usize, most: usize, keep: impl Fn(u8) -> bool) -> usize {
    run(&text[..text.len().min(at + most)], at, keep)
}

/// Whether `at` begins a value: nothing alphanumeric stands before it.
pub fn starts(text: &[u8], at: usize) -> bool {
    !before(text, at).is_some_and(is_word)
}

/// Whether a value may end at `end`: nothing alphanumeric follows.
pub fn ends(text: &[u8], end: usize) -> bool {
    !text.get(end).copied().is_some_and(is_word)
}

/// Whether one of `words` (lowercase) stands, as a whole word, within `window` bytes before `at`.
pub fn near(text: &[u8], at: usize, window: usize, words: &[&str]) -> bool {
    let mut i = at.saturating_sub(window);
    while i < at {
        let first = text[i].to_ascii_lowercase();
        if is_word(first) {
            let here = |word: &str| {
                let end = i + word.len();
                word.as_bytes()[0] == first
                    && end <= at
                    && continues(text, i, word)
                    && !text.get(end).is_some_and(u8::is_ascii_alphabetic)
            };
            if !before(text, i).is_some_and(|b| b.is_ascii_alphabetic()) && words.iter().any(|word| here(word)) {
                return true;
            }
        }
        i += 1;
    }
    false
}

/// Like [`near`], looking both ways.
pub fn around(text: &[u8], start: usize, end: usize, window: usize, words: &[&str]) -> bool {
    let to = (end + window).min(text.len());
    near(text, start, window, words) || near(text, to, to - end, words)
}

/// Whether `text` continues with `word` (lowercase) at `at`, without regard to case.
pub fn continues(text: &[u8], at: usize, word: &str) -> bool {
    text.get(at..at + word.len()).is_some_and(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

/// Digits of `text`, as numbers.
pub fn digits(text: &[u8]) -> Vec<u8> {
    text.iter().filter(|b| b.is_ascii_digit()).map(|b| b - b'0').collect()
}

/// Shannon entropy, in bits per byte.
pub fn entropy(value: &[u8]) -> f32 {
    let mut counts = [0u32; 256];
    for &b in value {
        counts[usize::from(b)] += 1;
    }
    let n = value.len() as f32;
    counts.iter().filter(|&&c| c > 0).map(|&c| c as f32 / n).map(|p| -p * p.log2()).sum()
}
