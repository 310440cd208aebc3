//! Names, postal addresses, and health, financial and document facts, where the words around make them certain enough.

use super::Hit;
use super::checks::aba_routing;
use crate::text::{before, continues, ends, is_word, near, run, short_run};

const STREETS: &[&[u8]] = &[
    b"street",
    b"st",
    b"avenue",
    b"ave",
    b"road",
    b"rd",
    b"boulevard",
    b"blvd",
    b"lane",
    b"ln",
    b"drive",
    b"dr",
    b"court",
    b"ct",
    b"place",
    b"pl",
    b"terrace",
    b"way",
    b"square",
    b"crescent",
    b"close",
    b"parkway",
    b"pkwy",
    b"highway",
    b"hwy",
    b"circle",
    b"trail",
];
const STREETS_FIRST: &[&[u8]] =
    &[b"rue", b"avenue", b"boulevard", b"calle", b"via", b"rua", b"avenida", b"place", b"chemin", b"impasse"];
const STREET_ENDINGS: &[&str] =
    &["straße", "strasse", "str", "weg", "platz", "allee", "gasse", "damm", "ufer", "straat", "laan", "gatan"];
const STATES: &[u8] = b"AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY DC PR ";
const NOT_NAMES: &[&[u8]] = &[
    b"The",
    b"This",
    b"That",
    b"None",
    b"Null",
    b"True",
    b"False",
    b"String",
    b"Name",
    b"Value",
    b"Type",
    b"Not",
    b"Please",
    b"All",
    b"Sir",
    b"Madam",
    b"Team",
    b"Customer",
    b"User",
    b"What",
    b"If",
    b"In",
    b"It",
    b"A",
    b"An",
    b"I",
    b"You",
    b"We",
    b"Claude",
    b"Assistant",
    b"Default",
    b"Error",
    b"Test",
    b"Option",
    b"Some",
    b"Vec",
    b"Sirs",
    b"Hiring",
];

/// `12 Main Street`, `221b Baker St`, `12 rue de la Paix`: a house number at `at`, where the word ends at `word_end`.
pub fn house_number(text: &[u8], at: usize, word_end: usize) -> Option<Hit<'static>> {
    let number = run(text, at, |b| b.is_ascii_digit());
    if number - at > 5 || word_end - number > 1 || matches!(before(text, at), Some(b'.' | b'-' | b'/' | b'$' | b':')) {
        return None;
    }
    let mut i = word_end;
    let mut named = false;
    for index in 0..5 {
        let gap = run(text, i, |b| matches!(b, b' ' | b','));
        if gap == i || gap - i > 2 || (index > 0 && text[i] == b',') {
            return None;
        }
        let end = run(text, gap, |b| is_word(b) || b == b'\'');
        let word = &text[gap..end];
        let capital = word.first()?.is_ascii_uppercase() || word[0] >= 0x80;
        if index == 0 && STREETS_FIRST.iter().any(|s| word.eq_ignore_ascii_case(s)) && text.get(end) == Some(&b' ') {
            let name = short_run(text, end + 1, 64, |b| is_word(b) || matches!(b, b' ' | b'-' | b'\''));
            let capitalised =
                text[end + 1..name].split(|&b| b == b' ').any(|w| w.first().is_some_and(u8::is_ascii_uppercase));
            return capitalised.then_some(Hit { kind: "postal_address", start: at, end: name });
        }
        if named && capital && STREETS.iter().any(|s| word.eq_ignore_ascii_case(s)) && ends(text, end) {
            return Some(Hit { kind: "postal_address", start: at, end });
        }
        let ordinal =
            word.first()?.is_ascii_digit() && word.len() <= 5 && word.last().is_some_and(u8::is_ascii_alphabetic);
        if !capital && !ordinal {
            return None;
        }
        named = true;
        i = end;
    }
    None
}

/// `Springfield, IL 62704`: five digits at `at` after a state, after a comma.
pub fn zip(text: &[u8], at: usize, word_end: usize) -> Option<Hit<'static>> {
    if word_end - at != 5 || at < 5 || text[at - 1] != b' ' || text[at - 5..at - 3] != *b", " {
        return None;
    }
    let state = &text[at - 3..at];
    let city = before(text, at - 5).is_some_and(|b| b.is_ascii_alphabetic());
    (city && STATES.chunks(3).any(|s| s == state)).then_some(Hit {
        kind: "postal_address",
        start: at - 3,
        end: word_end,
    })
}

/// `Musterstraße 12`, `P.O. Box 123`: the word at `start..end` names a street and a number follows.
pub fn street_then_number(text: &[u8], start: usize, end: usize) -> Option<Hit<'static>> {
    let word = &text[start..end];
    let gap = run(text, end, |b| matches!(b, b' ' | b'.'));
    if gap == end || !text.get(gap)?.is_ascii_digit() {
        return None;
    }
    let stop = run(text, gap, |b| b.is_ascii_digit());
    let box_number = word.eq_ignore_ascii_case(b"box") && near(text, start, 6, &["po", "p.o", "p.o."]);
    let capital = word[0].is_ascii_uppercase() || word[0] >= 0x80;
    let street = capital
        && stop - gap <= 4
        && STREET_ENDINGS
            .iter()
            .any(|s| word.len() > s.len() + 2 && word[word.len() - s.len()..].eq_ignore_ascii_case(s.as_bytes()));
    (box_number || street).then_some(Hit { kind: "postal_address", start, end: stop })
}

/// One to four capitalised words after `name is`, `name:` or a title that ends at `after`.
pub fn name_after(text: &[u8], after: usize, least: usize) -> Option<Hit<'static>> {
    let mut i = run(text, after, |b| matches!(b, b' ' | b'.' | b':' | b'=' | b'"' | b'\t' | b'\''));
    if i - after > 6 {
        return None;
    }
    if continues(text, i, "is ") {
        i += 3;
    }
    let start = i;
    let mut end = i;
    let mut words = 0;
    while words < 4 && text.get(i).is_some_and(u8::is_ascii_uppercase) {
        let stop = run(text, i, |b| is_word(b) || matches!(b, b'\'' | b'-'));
        let word = &text[i..stop];
        let initial = word.len() == 1 && text.get(stop) == Some(&b'.');
        let shaped = initial
            || (word.len() > 1 && word[1..].iter().any(u8::is_ascii_lowercase) && !word.iter().any(u8::is_ascii_digit));
        if !shaped || NOT_NAMES.contains(&word) {
            break;
        }
        words += 1;
        end = stop;
        i = stop + usize::from(initial);
        if text.get(i) != Some(&b' ') {
            break;
        }
        i += 1;
    }
    (words >= least && !matches!(text.get(end), Some(b'(' | b'<' | b':' | b'_'))).then_some(Hit {
        kind: "person_name",
        start,
        end,
    })
}

/// The first value within `window` bytes after `after` that `accept` takes: a run of letters, digits and hyphens.
fn value_after(text: &[u8], after: usize, window: usize, accept: impl Fn(&[u8]) -> bool) -> Option<(usize, usize)> {
    let limit = (after + window).min(text.len());
    let mut i = after;
    while i < limit && text[i] != b'\n' {
        if is_word(text[i]) {
            let end = short_run(text, i, 64, |b| is_word(b) || b == b'-');
            if accept(&text[i..end]) {
                return Some((i, end));
            }
            i = end;
        } else {
            i += 1;
        }
    }
    None
}

fn count_digits(word: &[u8]) -> usize {
    word.iter().filter(|b| b.is_ascii_digit()).count()
}

/// What the lowercase word that ends at `end` announces: documents, accounts, diagnoses.
pub fn announced(text: &[u8], word: &[u8], start: usize, end: usize) -> Option<Hit<'static>> {
    let found = |kind, place: Option<(usize, usize)>| place.map(|(start, end)| Hit { kind, start, end });
    match word {
        b"passport" | b"reisepass" | b"passeport" | b"pasaporte" => found(
            "passport",
            value_after(text, end, 28, |w| {
                (6..=9).contains(&w.len()) && count_digits(w) >= 6 - usize::from(!w[0].is_ascii_digit())
            }),
        ),
        b"licence" | b"license" if near(text, start, 16, &["driver", "drivers", "driving", "driver's", "s"]) => {
            found("driver_licence", value_after(text, end, 28, |w| (6..=20).contains(&w.len()) && count_digits(w) >= 4))
        }
        b"account" | b"acct" | b"konto" | b"kontonummer" => found(
            "bank_account",
            value_after(text, end, 20, |w| (7..=17).contains(&w.len()) && w.iter().all(u8::is_ascii_digit)),
        ),
        b"routing" | b"aba" => found(
            "bank_account",
            value_after(text, end, 24, |w| w.len() == 9 && w.iter().all(u8::is_ascii_digit) && aba_routing(w)),
        ),
        b"sort" if continues(text, end, " code") => found(
            "bank_account",
            value_after(text, end + 5, 16, |w| w.len() == 8 && w[2] == b'-' && w[5] == b'-' && count_digits(w) == 6),
        ),
        b"mrn" => found("health", value_after(text, end, 16, |w| w.len() >= 5 && count_digits(w) >= 5)),
        b"diagnosed" if continues(text, end, " with ") => {
            Some(Hit { kind: "health", start, end: run(text, end + 6, is_word) })
        }
        b"diagnosis" | b"icd" => found(
            "health",
            value_after(text, end, 16, |w| {
                (3..=4).contains(&w.len()) && w[0].is_ascii_uppercase() && w[1..].iter().all(u8::is_ascii_digit)
            }),
        ),
        _ => None,
    }
}
