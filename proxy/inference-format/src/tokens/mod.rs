//! Counts tokens as OpenAI's `o200k_base` does: a real tokenizer, if not every model's own.
//!
//! The table is 1.6 MB of the program and an index of 2.9 MB, which the first count makes: who asks for no inference pays nothing.
//! Long texts are sampled, so that counting never takes longer than judging.

mod split;
mod table;

use table::Table;

/// Texts that are together no longer than this are counted exactly, in bytes.
pub const EXACT: usize = 16 * 1024;
/// Samples of longer ones. What they make of a text is within a tenth of its count, unless its density changes wildly.
const SAMPLES: usize = 32;
/// Length of a sample, in bytes.
const SAMPLE: usize = 512;
/// A piece longer than this, such as a run of base64, is counted in parts: a few tokens more than it has.
const LONGEST_PIECE: usize = 256;

/// Tokens of these texts together: exactly, up to [`EXACT`] bytes; else estimated from samples of them.
pub fn count<'t>(texts: impl Iterator<Item = &'t str> + Clone) -> u64 {
    let total: usize = texts.clone().map(str::len).sum();
    if total <= EXACT {
        return texts.map(of).sum();
    }
    let (mut bytes, mut tokens) = (0u64, 0u64);
    // Which sample comes next, and how much of the current one is still to be read; it may go on in the texts that follow.
    let (mut next, mut left) = (0, 0);
    let mut begins = 0;
    for text in texts {
        let mut at = 0;
        while at < text.len() {
            if left == 0 {
                let start = next * total / SAMPLES;
                if next == SAMPLES || start >= begins + text.len() {
                    break;
                }
                at = text.floor_char_boundary(start.saturating_sub(begins).max(at));
                (next, left) = (next + 1, SAMPLE);
            }
            let end = text.ceil_char_boundary((at + left).min(text.len()));
            bytes += (end - at) as u64;
            tokens += of(&text[at..end]);
            left = left.saturating_sub(end - at);
            at = end;
        }
        begins += text.len();
    }
    (total as u64 * tokens).checked_div(bytes).unwrap_or(0)
}

/// Tokens of one text, exactly; but see [`LONGEST_PIECE`].
pub fn of(text: &str) -> u64 {
    let table = Table::get();
    split::pieces(text)
        .map(|piece| piece.as_bytes().chunks(LONGEST_PIECE).map(|part| table.count(part)).sum::<u64>())
        .sum()
}
