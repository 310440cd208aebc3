//! Cuts a text into the pieces that are merged each by itself: what the regular expression of `o200k_base` matches, one after
//! another. Its alternatives stand beside the code.

use unicode_general_category::{GeneralCategory as G, get_general_category};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// `Lu`, `Lt`.
    Upper,
    /// `Ll`.
    Lower,
    /// `Lm`, `Lo`: of no case.
    Letter,
    /// `M`: counts as a letter inside a word, and as none elsewhere.
    Mark,
    /// `N`.
    Number,
    /// `\r`, `\n`.
    Newline,
    /// Other blanks.
    Blank,
    /// Everything else.
    Other,
}

impl Class {
    fn of(c: char) -> Self {
        match c {
            'a'..='z' => Self::Lower,
            'A'..='Z' => Self::Upper,
            '0'..='9' => Self::Number,
            '\r' | '\n' => Self::Newline,
            c if c.is_whitespace() => Self::Blank,
            c if c.is_ascii() => Self::Other,
            c => match get_general_category(c) {
                G::UppercaseLetter | G::TitlecaseLetter => Self::Upper,
                G::LowercaseLetter => Self::Lower,
                G::ModifierLetter | G::OtherLetter => Self::Letter,
                G::NonspacingMark | G::SpacingMark | G::EnclosingMark => Self::Mark,
                G::DecimalNumber | G::LetterNumber | G::OtherNumber => Self::Number,
                _ => Self::Other,
            },
        }
    }

    /// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
    fn begins(self) -> bool {
        matches!(self, Self::Upper | Self::Letter | Self::Mark)
    }

    /// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
    fn goes_on(self) -> bool {
        matches!(self, Self::Lower | Self::Letter | Self::Mark)
    }

    /// `[^\r\n\p{L}\p{N}]`
    fn precedes(self) -> bool {
        matches!(self, Self::Blank | Self::Other | Self::Mark)
    }

    /// `[^\s\p{L}\p{N}]`
    fn is_symbol(self) -> bool {
        matches!(self, Self::Other | Self::Mark)
    }

    fn is_blank(self) -> bool {
        matches!(self, Self::Blank | Self::Newline)
    }
}

/// The pieces of a text, in order; together they are the text.
pub fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = first(rest)?;
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

/// Length of the first piece; `None`: there is nothing.
fn first(text: &str) -> Option<usize> {
    let c = text.chars().next()?;
    let class = Class::of(c);
    let after = c.len_utf8();
    let prefixes: &[usize] = if class.precedes() { &[after, 0] } else { &[0] };
    // `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?`, then the same
    // with `+` and `*` swapped.
    for find in [word, shout] {
        if let Some(end) = prefixes.iter().find_map(|&prefix| find(&text[prefix..]).map(|end| prefix + end)) {
            return Some(end + contraction(&text[end..]));
        }
    }
    Some(match class {
        // `\p{N}{1,3}`
        Class::Number => text.chars().take(3).take_while(|&c| Class::of(c) == Class::Number).map(char::len_utf8).sum(),
        // ` ?[^\s\p{L}\p{N}]+[\r\n/]*`
        _ if class.is_symbol() => symbols(text),
        _ if c == ' ' && text[1..].chars().next().is_some_and(|c| Class::of(c).is_symbol()) => 1 + symbols(&text[1..]),
        _ => blanks(text),
    })
}

fn run(text: &str, of: impl Fn(char) -> bool) -> usize {
    text.find(|c| !of(c)).unwrap_or(text.len())
}

fn word(text: &str) -> Option<usize> {
    let capitals = run(text, |c| Class::of(c).begins());
    let small = run(&text[capitals..], |c| Class::of(c).goes_on());
    if small > 0 {
        return Some(capitals + small);
    }
    // The last of them that may also go on.
    let last = text[..capitals].char_indices().rev().find(|&(_, c)| Class::of(c).goes_on())?;
    Some(last.0 + last.1.len_utf8())
}

fn shout(text: &str) -> Option<usize> {
    let capitals = run(text, |c| Class::of(c).begins());
    (capitals > 0).then_some(capitals)
}

fn contraction(text: &str) -> usize {
    let mut chars = text.chars();
    if chars.next() != Some('\'') {
        return 0;
    }
    let fold = |c: Option<char>| c.map(|c| if c == 'ſ' { 's' } else { c.to_ascii_lowercase() });
    let (first, raw) = (fold(text[1..].chars().next()), text[1..].chars().next());
    match (first, fold(text[1..].chars().nth(1))) {
        (Some('s' | 't' | 'm' | 'd'), _) => 1 + raw.map_or(0, char::len_utf8),
        (Some('r' | 'v'), Some('e')) | (Some('l'), Some('l')) => 3,
        _ => 0,
    }
}

fn symbols(text: &str) -> usize {
    let end = run(text, |c| Class::of(c).is_symbol());
    end + run(&text[end..], |c| matches!(c, '\r' | '\n' | '/'))
}

/// `\s*[\r\n]+`, else `\s+(?!\S)`, else `\s+`.
fn blanks(text: &str) -> usize {
    let end = run(text, |c| Class::of(c).is_blank());
    if let Some(newline) = text[..end].rfind(['\r', '\n']) {
        return newline + 1;
    }
    let last = text[..end].char_indices().next_back().map_or(0, |(at, _)| at);
    if end == text.len() || last == 0 { end } else { last }
}
