//! Telephone numbers and dates of birth.

use super::Hit;
use crate::checksum::day_exists;
use crate::text::{Cues, before, below, continues, digits, ends, is_word, near, run};

const PHONE_WORDS: Cues = Cues::new(&[
    "phone",
    "tel",
    "telephone",
    "mobile",
    "cell",
    "call",
    "fax",
    "whatsapp",
    "telefon",
    "handy",
    "mobil",
    "sms",
    "text",
    "téléphone",
    "telefono",
    "teléfono",
    "móvil",
    "portable",
    "ring",
    "contact",
    "telefone",
    "celular",
    "ph",
    "dial",
    "number",
    "nummer",
    "numéro",
    "número",
    "reach",
    "handynummer",
    "telefonnummer",
    "phone number",
    "mobile number",
    "cellphone",
    "hotline",
]);
const MONTHS: &[&str] =
    &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "mai", "okt", "dez", "mär"];

/// A phone number that begins at `at` (`+`, `(` or a digit): international with `+`, North American as printed, or any
/// plausible grouping where the words before it speak of phones.
pub fn phone(text: &[u8], at: usize) -> Option<Hit<'static>> {
    if before(text, at).is_some_and(|b| is_word(b) || matches!(b, b'.' | b'/' | b'_' | b'-' | b'#' | b'$' | b'+')) {
        return None;
    }
    let length = run(text, at, |b| b.is_ascii_digit()) - at;
    if (1..7).contains(&length)
        && !text.get(at + length).copied().is_some_and(|b| matches!(b, b' ' | b'-' | b'.' | b')' | b'/'))
    {
        return None;
    }
    let separator = |b: u8| matches!(b, b' ' | b'-' | b'.' | b'(' | b')' | b'/');
    let mut end = at;
    let mut count = 0;
    let mut lengths = [0usize; 16];
    let mut closed = 0;
    let mut i = at + usize::from(text[at] == b'+');
    while i < text.len() && count <= 15 {
        let group = run(text, i, |b| b.is_ascii_digit()) - i;
        if group > 0 {
            lengths[closed.min(15)] = group;
            closed += 1;
            count += group;
            i += group;
            end = i;
        } else if separator(text[i]) && i - end < 2 {
            i += 1;
        } else {
            break;
        }
    }
    if end == at || !ends(text, end) || !(7..=15).contains(&count) {
        return None;
    }
    let groups = &lengths[..closed.min(16)];
    let hit = Some(Hit { kind: "phone", start: at, end });
    if text[at] == b'+' {
        let first = text[at..end].iter().find(|b| b.is_ascii_digit());
        return if count >= 8 && first != Some(&b'0') { hit } else { None };
    }
    if north_american(&text[at..end], groups) {
        return hit;
    }
    let plausible = groups.len() <= 6
        && !(groups.len() == 3 && looks_like_date(groups))
        && text[at..end].iter().filter(|&&b| b == b'.').count() != 3;
    if plausible && near(text, at, 28, &PHONE_WORDS) { hit } else { None }
}

/// `(212) 555-0123`, `212-555-0123`, `212.555.0123`, with or without a leading 1; area and exchange begin with 2–9.
fn north_american(text: &[u8], groups: &[usize]) -> bool {
    if !matches!(groups, [3, 3, 4] | [1, 3, 3, 4]) {
        return false;
    }
    let d = digits(text);
    let d = match (&*d, groups) {
        ([1, rest @ ..], [1, ..]) => rest,
        (_, [1, ..]) => return false,
        (all, _) => all,
    };
    d[0] >= 2 && d[3] >= 2 && text.iter().any(|&b| matches!(b, b'-' | b'.' | b'('))
}

fn looks_like_date(groups: &[usize]) -> bool {
    matches!(groups, [4, 1 | 2, 1 | 2] | [1 | 2, 1 | 2, 4] | [2, 2, 2])
}

/// A date within 32 bytes after the word at `start..after`, such as `born`, `dob` or `birthday`, or below it in a table.
pub fn birth_date(text: &[u8], start: usize, after: usize) -> Option<Hit<'static>> {
    let dated = |from: usize, to: usize| {
        (from..to.min(text.len()))
            .take_while(|&i| text[i] != b'\n' || i <= from + 2)
            .filter(|&i| is_word(text[i]) && !before(text, i).is_some_and(is_word))
            .find_map(|i| Some(Hit { kind: "birth_date", start: i, end: date(text, i)? }))
    };
    dated(after, after + 32).or_else(|| {
        let cell = below(text, start, after)?;
        dated(cell, cell + 4)
    })
}

/// End of the date at `at`: `1980-02-29`, `29.2.1980`, `02/29/80`, `29 February 1980`, `Feb 29th, 1980`.
fn date(text: &[u8], at: usize) -> Option<usize> {
    let number = |from: usize| {
        let to = run(text, from, |b| b.is_ascii_digit());
        (to > from && to - from <= 4).then(|| (crate::checksum::number(&digits(&text[from..to])), to))
    };
    let month = |from: usize| {
        let known = MONTHS.iter().any(|m| continues(text, from, m));
        known.then(|| run(text, from, |b| is_word(b) || b == b'.'))
    };
    let blank = |from: usize| run(text, from, |b| matches!(b, b' ' | b',' | b'.'));
    if text[at].is_ascii_digit() {
        let (a, i) = number(at)?;
        if let Some(&s) = text.get(i).filter(|b| matches!(b, b'-' | b'/' | b'.')) {
            let (b, j) = number(i + 1)?;
            let (c, end) = (text.get(j) == Some(&s)).then(|| number(j + 1))??;
            let real = if a > 31 { day_exists(b, c) } else { day_exists(b, a) || day_exists(a, b) };
            return (real && ends(text, end)).then_some(end);
        }
        let i = run(text, i, |b| b.is_ascii_alphabetic());
        let month_end = month(blank(i)).or_else(|| month(run(text, blank(i), |b| b.is_ascii_alphabetic()) + 1))?;
        let (year, end) = number(blank(month_end))?;
        return ((1..=31).contains(&a) && year > 31).then_some(end);
    }
    let (day, i) = number(blank(month(at)?))?;
    let i = run(text, i, |b| b.is_ascii_alphabetic());
    let (year, end) = number(blank(i))?;
    ((1..=31).contains(&day) && year > 31).then_some(end)
}
