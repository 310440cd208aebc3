//! Names, postal addresses, and health, financial and document facts, where the words around make them certain enough.

use super::Hit;
use super::checks::aba_routing;
use crate::text::{Cues, before, below, continues, ends, is_word, near, run, short_run};

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
const STREETS_FIRST: &[&[u8]] = &[
    b"rue",
    b"avenue",
    b"boulevard",
    b"calle",
    b"via",
    b"rua",
    b"avenida",
    b"place",
    b"chemin",
    b"impasse",
    b"viale",
    b"piazza",
    b"plaza",
    b"paseo",
];
const STREET_ENDINGS: &[&str] = &[
    "straße", "strasse", "str", "weg", "platz", "allee", "gasse", "damm", "ufer", "straat", "laan", "gatan", "gracht",
    "kade", "plein", "ring",
];
/// What a key begins with whose `…name` is a person's.
const PERSONS: &[&[u8]] = &[
    b"customer",
    b"client",
    b"contact",
    b"employee",
    b"patient",
    b"guest",
    b"passenger",
    b"student",
    b"recipient",
    b"sender",
    b"holder",
    b"cardholder",
    b"account",
    b"billing",
    b"shipping",
    b"beneficiary",
    b"applicant",
    b"member",
    b"person",
    b"legal",
    b"display",
    b"given",
    b"family",
    b"maiden",
    b"emergency",
    b"owner",
    b"author",
    b"manager",
    b"doctor",
    b"spouse",
    b"tenant",
    b"buyer",
    b"payer",
];
/// Small words inside of names.
const PARTICLES: &[&[u8]] = &[
    b"van", b"von", b"de", b"der", b"den", b"del", b"della", b"di", b"da", b"dos", b"du", b"la", b"bin", b"al", b"el",
    b"ten", b"zu",
];
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

const POST_OFFICE: Cues = Cues::new(&["po", "p o"]);

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
    // `via Docker` is a way to do something; `Via Roma` is a street.
    if (word[0].is_ascii_uppercase() || word != b"via") && STREETS_FIRST.iter().any(|s| word.eq_ignore_ascii_case(s)) {
        return first_then_name(text, start, end);
    }
    let gap = run(text, end, |b| matches!(b, b' ' | b'.'));
    if gap == end || !text.get(gap)?.is_ascii_digit() {
        return None;
    }
    let stop = run(text, gap, |b| b.is_ascii_digit());
    let box_number = word.eq_ignore_ascii_case(b"box") && near(text, start, 6, &POST_OFFICE);
    let capital = word[0].is_ascii_uppercase() || word[0] >= 0x80;
    let street = capital
        && stop - gap <= 4
        && STREET_ENDINGS
            .iter()
            .any(|s| word.len() > s.len() + 2 && word[word.len() - s.len()..].eq_ignore_ascii_case(s.as_bytes()));
    (box_number || street).then_some(Hit { kind: "postal_address", start, end: stop })
}

/// `Calle Mayor 12`, `Via della Pace 3`: one to four words of which one is a name, then a number that ends there.
fn first_then_name(text: &[u8], start: usize, end: usize) -> Option<Hit<'static>> {
    let mut i = end;
    let mut named = false;
    for _ in 0..5 {
        if text.get(i) != Some(&b' ') {
            return None;
        }
        let stop = short_run(text, i + 1, 32, |b| is_word(b) || b == b'\'');
        let word = &text[i + 1..stop];
        match word.first()? {
            b if b.is_ascii_digit() => {
                let number =
                    word.len() <= 4 && word.iter().take_while(|b| b.is_ascii_digit()).count() + 1 >= word.len();
                return (named && number).then_some(Hit { kind: "postal_address", start, end: stop });
            }
            b if b.is_ascii_uppercase() || *b >= 0x80 => named = true,
            _ if PARTICLES.contains(&word) => {}
            _ => return None,
        }
        i = stop;
    }
    None
}

/// The name that the lowercase `word` at `start..end` introduces: a title, a key, or what people say before their own.
pub fn named(text: &[u8], word: &[u8], start: usize, end: usize) -> Option<Hit<'static>> {
    let capital = text[start].is_ascii_uppercase();
    match word {
        b"mr" | b"mrs" | b"ms" | b"herr" | b"frau" | b"mme" | b"sra" | b"dr" | b"prof" | b"professor" | b"monsieur"
        | b"madame" | b"signor" | b"signora" | b"senhor" | b"senhora" | b"mevrouw" | b"meneer" | b"miss"
            if capital =>
        {
            name_after(text, end, 1)
        }
        _ if word.starts_with("señor".as_bytes()) => name_after(text, end, 1),
        b"name" | b"patient" | b"fullname" | b"firstname" | b"lastname" | b"surname" | b"nombre" | b"nom"
        | b"vorname" | b"nachname" | b"nome" | b"naam" | b"namn" | b"navn" | b"cognome" | b"apellido"
        | b"apellidos" | b"cardholder" | b"accountholder" | b"recipient" | b"employee" | b"beneficiary"
        | b"passenger" => name_after(text, end, 2).or_else(|| name_at(text, below(text, start, end)?, 2)),
        b"heisse" | b"appelle" | b"llamo" | b"chiamo" => name_after(text, end, 1),
        _ if word == "heiße".as_bytes() => name_after(text, end, 1),
        b"called" | b"named" => name_after(text, end, 2),
        // `customerName`, `contactName`; `fileName` and the like are no people's.
        _ if word.len() > 8 && word.ends_with(b"name") && PERSONS.iter().any(|person| word.starts_with(person)) => {
            name_after(text, end, 2)
        }
        b"am" if near_word(text, start, b"I") => name_after(text, end, 2),
        b"signed" => name_after(text, run(text, end, |b| b == b' ') + 2, 2).filter(|_| continues(text, end, " by ")),
        b"dear" | b"sincerely" | b"regards" if capital => name_after(text, end, 2),
        _ => None,
    }
}

/// Whether exactly `word` and a blank stand right before `at`.
fn near_word(text: &[u8], at: usize, word: &[u8]) -> bool {
    let Some(begin) = at.checked_sub(word.len() + 1) else { return false };
    text[begin..at - 1] == *word && text[at - 1] == b' ' && !before(text, begin).is_some_and(is_word)
}

/// One to four capitalised words after `name is`, `name:`, `name | `, `name" value="` or a title that ends at `after`.
pub fn name_after(text: &[u8], after: usize, least: usize) -> Option<Hit<'static>> {
    let mark = |b: u8| {
        matches!(b, b' ' | b'.' | b':' | b'=' | b'"' | b'\t' | b'\'' | b'|' | b'>' | b',' | b'\\' | b'*' | b'`')
    };
    let mut i = short_run(text, after, 7, mark);
    if i == after || text[after] == b',' && text.get(after + 1) != Some(&b' ') {
        return None;
    }
    for verb in ["is ", "ist ", "est ", "es ", "value=\"", "value='", "/b>: ", "/strong>: "] {
        if continues(text, i, verb) {
            i += verb.len();
        }
    }
    name_at(text, i, least)
}

/// One to four capitalised words at `at`, at least `least`; small words such as `van` may stand between them.
pub fn name_at(text: &[u8], at: usize, least: usize) -> Option<Hit<'static>> {
    let mut i = at;
    let mut end = at;
    let mut words = 0;
    while words < 4 {
        let stop = short_run(text, i, 40, |b| is_word(b) || matches!(b, b'\'' | b'-'));
        let word = text.get(i..stop).filter(|w| !w.is_empty())?;
        if words > 0 && PARTICLES.contains(&word) && text.get(stop) == Some(&b' ') {
            i = stop + 1;
            continue;
        }
        if !begins_capital(word) {
            break;
        }
        let initial = word.len() == 1 && text.get(stop) == Some(&b'.');
        let shaped = initial
            || (word.len() > 1
                && word[1..].iter().any(|b| b.is_ascii_lowercase() || *b >= 0x80)
                && !word.iter().any(u8::is_ascii_digit));
        if !shaped || NOT_NAMES.contains(&word) {
            break;
        }
        words += 1;
        end = stop;
        i = stop + usize::from(initial);
        if text.get(i) != Some(&b' ') || !text.get(i + 1).copied().is_some_and(is_word) {
            break;
        }
        i += 1;
    }
    (words >= least && !matches!(text.get(end), Some(b'(' | b':' | b'_'))).then_some(Hit {
        kind: "person_name",
        start: at,
        end,
    })
}

fn begins_capital(word: &[u8]) -> bool {
    match word.first() {
        Some(b) if *b < 0x80 => b.is_ascii_uppercase(),
        // Latin capitals with marks: U+00C0 to U+00DE, and every second letter of the block from U+0100.
        Some(0xc3) => matches!(word.get(1), Some(0x80..=0x9e)),
        Some(0xc4..=0xc5) => word.get(1).is_some_and(|b| b % 2 == 0),
        _ => false,
    }
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

const DRIVERS: Cues = Cues::new(&["driver", "drivers", "driving", "driver's", "driver’s"]);
/// Words for the document in other languages, and the articles between them.
const CONDUCTS: Cues = Cues::new(&["permis de", "permiso de", "licencia de", "carnet de", "patente di", "carteira de"]);

/// What the lowercase word that ends at `end` announces: documents, accounts, diagnoses.
pub fn announced(text: &[u8], word: &[u8], start: usize, end: usize) -> Option<Hit<'static>> {
    let found = |kind, window: usize, accept: &dyn Fn(&[u8]) -> bool| {
        let place = value_after(text, end, window, accept);
        let place = place.or_else(|| value_after(text, below(text, start, end)?, 1, accept));
        place.map(|(start, end)| Hit { kind, start, end })
    };
    match word {
        b"passport" | b"reisepass" | b"passeport" | b"pasaporte" | b"passportno" | b"passportnumber" => {
            found("passport", 28, &|w| {
                (6..=9).contains(&w.len()) && count_digits(w) >= 6 - usize::from(!w[0].is_ascii_digit())
            })
        }
        b"licence" | b"license" if near(text, start, 16, &DRIVERS) => {
            found("driver_licence", 28, &|w| (6..=20).contains(&w.len()) && count_digits(w) >= 4)
        }
        b"driverlicense" | b"driverslicense" | b"driverlicence" | b"driverslicence" | b"drivinglicense"
        | b"drivinglicence" | b"rijbewijs" | b"rijbewijsnummer" | b"permisconduire" | b"dln" => {
            found("driver_licence", 28, &|w| (6..=20).contains(&w.len()) && count_digits(w) >= 4)
        }
        _ if [&b"hrerschein"[..], b"hrerscheinnummer"].iter().any(|ending| word.ends_with(ending)) => {
            found("driver_licence", 28, &|w| (6..=20).contains(&w.len()) && count_digits(w) >= 4)
        }
        b"conduire" | b"conducir" | b"guida" | b"motorista" if near(text, start, 14, &CONDUCTS) => {
            found("driver_licence", 28, &|w| (6..=20).contains(&w.len()) && count_digits(w) >= 4)
        }
        b"dl" => found("driver_licence", 14, &|w| {
            (7..=15).contains(&w.len()) && !w[0].is_ascii_digit() && count_digits(w) >= 5
        }),
        b"account" | b"acct" | b"konto" | b"kontonummer" => {
            found("bank_account", 20, &|w| (7..=17).contains(&w.len()) && w.iter().all(u8::is_ascii_digit))
        }
        b"routing" | b"aba" | b"routingnumber" => {
            found("bank_account", 24, &|w| w.len() == 9 && w.iter().all(u8::is_ascii_digit) && aba_routing(w))
        }
        b"sort" if continues(text, end, " code") => {
            found("bank_account", 21, &|w| w.len() == 8 && w[2] == b'-' && w[5] == b'-' && count_digits(w) == 6)
        }
        b"mrn" => found("health", 16, &|w| w.len() >= 5 && count_digits(w) >= 5),
        b"diagnosed" if continues(text, end, " with ") => {
            Some(Hit { kind: "health", start, end: run(text, end + 6, is_word) })
        }
        b"diagnosis" | b"icd" => found("health", 16, &|w| {
            (3..=4).contains(&w.len()) && w[0].is_ascii_uppercase() && w[1..].iter().all(u8::is_ascii_digit)
        }),
        _ => None,
    }
}
