//! Small questions about bytes of text that every detector asks.

/// Classes of a byte, as bits.
pub const LOWER: u8 = 1;
/// A capital letter.
pub const UPPER: u8 = 2;
/// A decimal digit.
pub const DIGIT: u8 = 4;
/// Part of a character outside ASCII.
pub const HIGH: u8 = 8;
/// What words are made of.
pub const WORD: u8 = LOWER | UPPER | DIGIT | HIGH;
/// `+`, `/`, `_`, `-`: what base64 is made of besides letters and digits.
pub const JOINT: u8 = 16;
/// Something may begin here, or stand around it.
pub const MARK: u8 = 32;
/// `%`.
pub const PERCENT: u8 = 64;

/// Classes of every byte.
pub static CLASS: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut b = 0;
    while b < 256 {
        table[b] = match b as u8 {
            b'a'..=b'z' => LOWER,
            b'A'..=b'Z' => UPPER,
            b'0'..=b'9' => DIGIT,
            0x80.. => HIGH,
            b'_' | b'/' => JOINT,
            b'-' | b'+' => JOINT | MARK,
            b'@' | b':' | b'(' => MARK,
            b'%' => PERCENT,
            _ => 0,
        };
        b += 1;
    }
    table
};

/// The classes of a byte.
#[inline]
pub fn class(b: u8) -> u8 {
    CLASS[usize::from(b)]
}

/// Letters, digits and any byte of a multi-byte character: what words are made of.
#[inline]
pub fn is_word(b: u8) -> bool {
    class(b) & WORD != 0
}

/// Where the bytes end that from `at` on are of the classes in `mask`, and which of those they are. Four at a time: the engine asks
/// in every turn of a loop whether the time is over.
pub fn span(text: &[u8], at: usize, mask: u8) -> (usize, u8) {
    let (mut end, mut classes) = (at, 0);
    while let Some(four) = text.get(end..).and_then(<[u8]>::first_chunk::<4>) {
        for (k, &b) in four.iter().enumerate() {
            let here = class(b);
            if here & mask == 0 {
                return (end + k, classes);
            }
            classes |= here;
        }
        end += 4;
    }
    while let Some(here) = text.get(end).map(|&b| class(b)).filter(|here| here & mask != 0) {
        classes |= here;
        end += 1;
    }
    (end, classes)
}

/// Whether four bytes are small letters.
fn small(four: [u8; 4]) -> bool {
    const HIGHS: u32 = 0x8080_8080;
    let x = u32::from_le_bytes(four);
    let from_a = (x | HIGHS) - u32::from_le_bytes([b'a'; 4]);
    let to_z = (u32::from_le_bytes([b'z'; 4]) | HIGHS) - (x & !HIGHS);
    !x & from_a & to_z & HIGHS == HIGHS
}

/// First position at or after `from` of a byte that is `wanted`, eight at a time.
pub fn find(text: &[u8], from: usize, wanted: u8) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let pattern = ONES * u64::from(wanted);
    let zero = |chunk: u64| {
        let x = chunk ^ pattern;
        x.wrapping_sub(ONES) & !x & (ONES << 7) != 0
    };
    eights(text, from, zero, |b| b == wanted)
}

/// First position at or after `from` of a byte outside ASCII.
pub fn find_high(text: &[u8], from: usize) -> Option<usize> {
    eights(text, from, |chunk| chunk & 0x8080_8080_8080_8080 != 0, |b| b >= 0x80)
}

fn eights(text: &[u8], from: usize, any: impl Fn(u64) -> bool, is: impl Fn(u8) -> bool) -> Option<usize> {
    let rest = text.get(from..)?;
    let mut at = 0;
    for chunk in rest.chunks_exact(8) {
        let mut eight = [0u8; 8];
        eight.copy_from_slice(chunk);
        if any(u64::from_le_bytes(eight)) {
            break;
        }
        at += 8;
    }
    rest[at..].iter().position(|&b| is(b)).map(|i| from + at + i)
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

/// Words that say what a value near them is: lowercase; a blank in one stands for a blank, `_`, `-`, `.` or nothing.
pub struct Cues {
    words: &'static [&'static str],
    /// Bits of the pairs of bytes that they begin with: most words of a text are told apart by these.
    pairs: [u64; 16],
}

/// Which bit two bytes have in [`Cues::pairs`]: letters count by their lowest five bits, whatever their case; as second byte all that is
/// neither a letter nor near one counts as nothing.
const fn pair(first: u8, second: u8) -> usize {
    ((first & 31) as usize) << 5 | if second & 64 == 0 { 0 } else { (second & 31) as usize }
}

impl Cues {
    /// Of these words.
    pub const fn new(words: &'static [&'static str]) -> Self {
        let mut pairs = [0; 16];
        let mut i = 0;
        while i < words.len() {
            let word = words[i].as_bytes();
            // After a single letter anything may stand.
            let alone = word.len() < 2 || word[1] == b' ';
            let bit = pair(word[0], if alone { 0 } else { word[1] });
            pairs[bit / 64] |= (if alone { 0xffff_ffff } else { 1 }) << (bit % 64);
            i += 1;
        }
        Self { words, pairs }
    }

    /// Whether one begins at `at` and ends, as a whole word, at `limit` at the latest.
    fn at(&self, text: &[u8], at: usize, limit: usize) -> bool {
        let bit = pair(text[at], text.get(at + 1).copied().unwrap_or_default());
        let first = text[at].to_ascii_lowercase();
        self.pairs[bit / 64] >> (bit % 64) & 1 == 1
            && self.words.iter().any(|word| word.as_bytes()[0] == first && spelled(text, at, limit, word))
    }
}

fn spelled(text: &[u8], at: usize, limit: usize, word: &str) -> bool {
    let mut i = at;
    for &w in word.as_bytes() {
        match text.get(i) {
            Some(b' ' | b'_' | b'-' | b'.') if w == b' ' => i += 1,
            _ if w == b' ' => {}
            Some(b) if b.to_ascii_lowercase() == w => i += 1,
            _ => return false,
        }
    }
    // `nhsNumber` holds `nhs`, `nhsx` does not.
    let goes_on = match text.get(i) {
        Some(b) if b.is_ascii_lowercase() => true,
        Some(b) if b.is_ascii_uppercase() => !text[i - 1].is_ascii_lowercase(),
        _ => false,
    };
    i <= limit && !goes_on
}

/// Whether one of `cues` stands, as a whole word, within `window` bytes before `at`.
pub fn near(text: &[u8], at: usize, window: usize, cues: &Cues) -> bool {
    let mut i = at.saturating_sub(window);
    let mut before = before(text, i).map_or(0, class);
    while i < at {
        // Most bytes are small letters within a word.
        if before & (LOWER | UPPER) != 0 && text[i..at].first_chunk().is_some_and(|four| small(*four)) {
            (before, i) = (LOWER, i + 4);
            continue;
        }
        let here = class(text[i]);
        let begins = match here {
            LOWER => before & (LOWER | UPPER) == 0,
            UPPER => before & UPPER == 0,
            HIGH => true,
            _ => false,
        };
        if begins && cues.at(text, i, at) {
            return true;
        }
        (before, i) = (here, i + 1);
    }
    false
}

/// Like [`near`], looking both ways.
pub fn around(text: &[u8], start: usize, end: usize, window: usize, cues: &Cues) -> bool {
    let to = (end + window).min(text.len());
    near(text, start, window, cues) || near(text, to, to - end, cues)
}

/// Where the value begins that stands in a table below the heading which the word at `start..end` ends: the same column of the
/// next line, with commas, semicolons or tabs between columns.
pub fn below(text: &[u8], start: usize, end: usize) -> Option<usize> {
    const LONGEST: usize = 400;
    // `passport_number` is one heading, whichever of its words tells.
    let after = short_run(text, end, 40, |b| is_word(b) || matches!(b, b'_' | b'-' | b'.' | b'"'));
    let line_start = start - text[..start].iter().rev().take(LONGEST).take_while(|&&b| b != b'\n').count();
    let heading = &text[line_start..after];
    let is_delimiter = |b: &u8| matches!(b, b',' | b';' | b'\t');
    let delimiter = *text.get(after).filter(|b| is_delimiter(b)).or_else(|| {
        let ends_line = matches!(text.get(after), Some(b'\n' | b'\r'));
        heading.iter().rev().find(|b| is_delimiter(b)).filter(|_| ends_line)
    })?;
    // A heading is words; a sentence with commas has blanks around them.
    if !heading.iter().all(|&b| is_word(b) || matches!(b, b'_' | b'-' | b'"' | b'.') || b == delimiter) {
        return None;
    }
    let column = heading.iter().filter(|&&b| b == delimiter).count();
    let mut at = after + text[after..].iter().take(LONGEST).position(|&b| b == b'\n')? + 1;
    for _ in 0..column {
        let cell = short_run(text, at, LONGEST, |b| b != delimiter && b != b'\n');
        if text.get(cell) != Some(&delimiter) {
            return None;
        }
        at = cell + 1;
    }
    (at < text.len()).then_some(at)
}

/// Whether `text` continues with `word` (lowercase) at `at`, without regard to case.
pub fn continues(text: &[u8], at: usize, word: &str) -> bool {
    text.get(at..at + word.len()).is_some_and(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

/// Digits of a number that may be long, as numbers. They lie where they are used: there is one of these for each way in which a number may be read.
pub struct Digits {
    digits: [u8; Self::MOST],
    count: usize,
}

impl Digits {
    /// So many are kept.
    const MOST: usize = 24;
}

impl std::ops::Deref for Digits {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.digits[..self.count]
    }
}

/// Digits of `text`, as numbers: the first 24 of them.
#[inline(never)]
pub fn digits(text: &[u8]) -> Digits {
    let mut all = Digits { digits: [0; Digits::MOST], count: 0 };
    for (slot, b) in all.digits.iter_mut().zip(text.iter().filter(|b| b.is_ascii_digit())) {
        *slot = b - b'0';
        all.count += 1;
    }
    all
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CUES: Cues = Cues::new(&["tax id", "ph", "v", "p o", "número", "снилс"]);

    /// [`near`], a byte at a time.
    fn slowly_near(text: &[u8], at: usize, window: usize) -> bool {
        (at.saturating_sub(window)..at).any(|i| {
            let here = class(text[i]);
            let before = i.checked_sub(1).map_or(0, |j| class(text[j]));
            let begins = here & (LOWER | UPPER) != 0
                && (before & (LOWER | UPPER) == 0 || here & UPPER != 0 && before & LOWER != 0)
                || here & HIGH != 0;
            begins && CUES.words.iter().any(|word| spelled(text, i, at, word))
        })
    }

    proptest! {
        #[test]
        fn several_bytes_at_a_time_read_like_one(
            text in "(tax id|TaxId|ph|[Pp] ?o|v|número|снилс|[a-z]{1,9}|[A-Z]{1,5}|[ _.-]|[0-9]{1,9}|é){0,12}",
            (at, window) in (0usize..80, 0usize..50),
        ) {
            let text = text.as_bytes();
            let at = at.min(text.len());
            prop_assert_eq!(near(text, at, window, &CUES), slowly_near(text, at, window));
            let end = run(text, at, is_word);
            let classes = text[at..end].iter().fold(0, |all, &b| all | class(b));
            prop_assert_eq!(span(text, at, WORD), (end, classes));
        }

        #[test]
        fn small_letters_are_told_from_all_others(four in any::<[u8; 4]>(), letters in "[a-z]{4}", at in 0usize..4) {
            let all = |four: [u8; 4]| four.iter().all(u8::is_ascii_lowercase);
            prop_assert_eq!(small(four), all(four));
            let mut nearly = [0; 4];
            nearly.copy_from_slice(letters.as_bytes());
            prop_assert!(small(nearly));
            nearly[at] = four[at];
            prop_assert_eq!(small(nearly), all(nearly));
        }
    }
}
