//! Counts of tokens, against the tokenizer that they copy.

use std::time::Instant;

use proptest::prelude::*;
use tiktoken_rs::o200k_base_singleton;

use crate::tokens::{self, EXACT};

fn theirs(text: &str) -> u64 {
    o200k_base_singleton().encode_ordinary(text).len() as u64
}

const TEXTS: &[&str] = &[
    "",
    " ",
    "a",
    "hello world",
    "The quick brown fox jumps over the lazy dog.",
    "I'm sure they'll say it's what we've HAD, she'D said: 'tis DON'T!",
    "fn main() {\n    println!(\"{}\", 1_000_000 + 0x7f);\n}\n\n\n\tlet x = y;\r\n",
    "Grüezi mitenand, das ist ein Straßenschild für Fußgänger.",
    "日本語のテキストと、中文的文字，한국어 텍스트.",
    "Привет, мир! Как дела? ЗДРАВСТВУЙТЕ",
    "مرحبا بالعالم، كيف الحال؟ १२३४ ๔๕",
    "e\u{301}te\u{301} \u{301}x \u{200b}\u{a0}\u{3000}end",
    "👩‍👩‍👧‍👦 🇨🇭 ✅",
    "    leading\n  \n\n   and trailing   ",
    "https://example.org/a/b?c=d&e=%20f#g //// \n/ \r\n\r\n",
    "1234567 12 3 ½ Ⅻ ①②③",
    "CamelCaseIDsAndHTTPServer2 XMLHttpRequest ǅ ʰello ﬁne",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0",
];

#[test]
fn counts_what_the_original_counts() {
    for text in TEXTS {
        assert_eq!(tokens::of(text), theirs(text), "{text:?}");
    }
    let all = TEXTS.concat();
    assert_eq!(tokens::of(&all), theirs(&all));
}

/// What the file says of long texts: within a tenth.
#[test]
fn long_texts_are_estimated_within_a_tenth() {
    let code = include_str!("../redact/mod.rs").repeat(20);
    let prose = include_str!("../../../../ARCHITECTURE.md").repeat(8);
    let log: String = (0..4000)
        .map(|i| format!("2024-05-01T10:{:02}:00Z INFO request {i} took {} ms\n", i % 60, i * 7 % 331))
        .collect();
    let mixed = format!("{code}{prose}{log}");
    for text in [&code, &prose, &log, &mixed] {
        assert!(text.len() > EXACT);
        let (estimated, exact) = (tokens::count([text.as_str()].into_iter()), tokens::of(text));
        let off = (estimated as f64 - exact as f64).abs() / exact as f64;
        assert!(off < 0.1, "{estimated} for {exact} tokens of {} bytes: {off:.3} off", text.len());
        // In parts it is the same text.
        let halves = text.split_at(text.floor_char_boundary(text.len() / 2));
        let parts = tokens::count([halves.0, halves.1].into_iter());
        assert!((parts as f64 - exact as f64).abs() / (exact as f64) < 0.1, "{parts} for {exact}");
    }
    // Thousands of short texts are sampled as one.
    let lines: Vec<&str> = mixed.split_inclusive('\n').collect();
    let (estimated, exact) =
        (tokens::count(lines.iter().copied()), lines.iter().map(|line| tokens::of(line)).sum::<u64>());
    assert!(
        (estimated as f64 - exact as f64).abs() / (exact as f64) < 0.1,
        "{estimated} for {exact} in {} lines",
        lines.len()
    );
}

/// However long a text is, counting ends soon; a run of letters is the worst there is. Generous, for unoptimised builds on busy
/// machines: quadratic behaviour would take minutes.
#[test]
fn counting_does_not_grow_out_of_hand() {
    let start = Instant::now();
    for text in ["a".repeat(4 << 20), "xq".repeat(EXACT / 2), "\u{301}".repeat(EXACT / 2)] {
        assert!(tokens::count([text.as_str()].into_iter()) > 0);
    }
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

proptest! {
    #[test]
    fn any_text_is_counted_alike(text in "[a-zA-Z0-9 '\\n\\r\\t./äöüßéñçЖж漢かな한ʰ\u{301}\u{a0}😀½-]{0,80}") {
        prop_assert_eq!(tokens::of(&text), theirs(&text), "{:?}", text);
    }

    #[test]
    fn any_letters_are_counted_alike(text in "\\PC{0,60}") {
        prop_assert_eq!(tokens::of(&text), theirs(&text), "{:?}", text);
    }
}
