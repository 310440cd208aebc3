//! Government-issued personal numbers. Where a check digit is weak or absent, words around must say what it is.

use std::sync::OnceLock;

use super::Hit;
use super::checks::{self, Check};
use crate::text::{Cues, before, ends, is_word, near};

/// How a number is written and when it counts. In `forms`, `d` is a digit, `A` a letter, `X` either; the rest is literal.
struct Number {
    kind: &'static str,
    /// Written so, it counts when the check holds.
    forms: &'static [&'static str],
    /// Written so, it counts when the check holds and one of `words` stands before it.
    weak: &'static [&'static str],
    words: Cues,
    check: Check,
}

const NUMBERS: &[Number] = &[
    Number {
        kind: "us_ssn",
        forms: &["ddd-dd-dddd"],
        weak: &["ddd dd dddd", "ddd.dd.dddd", "ddddddddd"],
        words: Cues::new(&["ssn", "social security", "social security number", "itin"]),
        check: checks::us_ssn,
    },
    Number {
        kind: "uk_nino",
        forms: &["AA dd dd dd A"],
        weak: &["AAddddddA", "AA-dd-dd-dd-A", "AAdddddd A"],
        words: Cues::new(&["nino", "national insurance", "ni number", "ni no", "insurance"]),
        check: checks::uk_nino,
    },
    Number {
        kind: "uk_nhs",
        forms: &[],
        weak: &["ddd ddd dddd", "ddd-ddd-dddd", "dddddddddd"],
        words: Cues::new(&["nhs", "health service"]),
        check: checks::uk_nhs,
    },
    Number {
        kind: "de_tax_id",
        forms: &["dd ddd ddd ddd"],
        weak: &["ddddddddddd", "dd/ddd/ddd/ddd"],
        words: Cues::new(&[
            "steuer",
            "steuer-id",
            "steueridentifikationsnummer",
            "idnr",
            "steuernummer",
            "tax id",
            "tin",
            "tax",
        ]),
        check: checks::de_tax_id,
    },
    Number {
        kind: "fr_nir",
        forms: &["ddddddddddddddd", "d dd dd dd ddd ddd dd"],
        weak: &["ddddddddddddd dd"],
        words: Cues::new(&["nir", "sécurité sociale", "securite sociale", "sécu", "secu", "insee", "social security"]),
        check: checks::fr_nir,
    },
    Number {
        kind: "es_dni",
        forms: &["ddddddddA", "dddddddd-A", "AdddddddA", "A-ddddddd-A"],
        weak: &["dd.ddd.ddd-A", "dd.ddd.dddA", "dddddddd A"],
        words: Cues::new(&["dni", "nif", "nie", "documento"]),
        check: checks::es_dni,
    },
    Number {
        kind: "it_codice_fiscale",
        forms: &["AAAAAAXXAXXAXXXA", "AAA AAA XXAXX AXXXA"],
        weak: &[],
        words: Cues::new(&[]),
        check: checks::it_codice_fiscale,
    },
    Number {
        kind: "nl_bsn",
        forms: &[],
        weak: &["ddddddddd", "dddd.dd.ddd", "dddd dd ddd"],
        words: Cues::new(&["bsn", "burgerservicenummer", "sofinummer", "sofi"]),
        check: checks::nl_bsn,
    },
    Number {
        kind: "be_national_number",
        forms: &["dd.dd.dd-ddd.dd"],
        weak: &["ddddddddddd", "dd.dd.dd-ddd-dd"],
        words: Cues::new(&[
            "rijksregister",
            "rijksregisternummer",
            "national number",
            "registre",
            "niss",
            "insz",
            "nrn",
        ]),
        check: checks::be_national,
    },
    Number {
        kind: "br_cpf",
        forms: &["ddd.ddd.ddd-dd"],
        weak: &["ddddddddddd"],
        words: Cues::new(&["cpf"]),
        check: checks::br_cpf,
    },
    Number {
        kind: "in_aadhaar",
        forms: &[],
        weak: &["dddd dddd dddd", "dddd-dddd-dddd", "dddddddddddd"],
        words: Cues::new(&["aadhaar", "aadhar", "uidai", "uid", "adhaar"]),
        check: checks::in_aadhaar,
    },
    Number {
        kind: "in_pan",
        forms: &[],
        weak: &["AAAAAddddA"],
        words: Cues::new(&["pan", "permanent account", "income tax", "pan number", "pan card"]),
        check: checks::in_pan,
    },
    Number {
        kind: "cn_resident_id",
        forms: &["dddddddddddddddddX"],
        weak: &[],
        words: Cues::new(&[]),
        check: checks::cn_resident_id,
    },
    Number {
        kind: "ca_sin",
        forms: &[],
        weak: &["ddd-ddd-ddd", "ddd ddd ddd", "ddddddddd"],
        words: Cues::new(&["sin", "social insurance", "nas", "assurance sociale"]),
        check: checks::luhn_number,
    },
    Number {
        kind: "au_tfn",
        forms: &[],
        weak: &["ddd ddd ddd", "ddddddddd", "ddd-ddd-ddd"],
        words: Cues::new(&["tfn", "tax file", "tax file number"]),
        check: checks::au_tfn,
    },
    Number {
        kind: "pl_pesel",
        forms: &[],
        weak: &["ddddddddddd"],
        words: Cues::new(&["pesel"]),
        check: checks::pl_pesel,
    },
    Number {
        kind: "se_personnummer",
        forms: &[],
        weak: &["dddddd-dddd", "dddddd+dddd", "dddddddd-dddd", "dddddddddd", "dddddddddddd"],
        words: Cues::new(&["personnummer", "personnr", "pnr", "personal identity number", "samordningsnummer"]),
        check: checks::se_personnummer,
    },
    Number {
        kind: "fi_hetu",
        forms: &["dddddd-dddX", "ddddddAdddX"],
        weak: &[],
        words: Cues::new(&[]),
        check: checks::fi_hetu,
    },
    Number {
        kind: "no_fodselsnummer",
        forms: &["ddddddddddd", "dddddd ddddd"],
        weak: &[],
        words: Cues::new(&[]),
        check: checks::no_fodselsnummer,
    },
    Number {
        kind: "ch_ahv",
        forms: &["ddd.dddd.dddd.dd"],
        weak: &["ddddddddddddd"],
        words: Cues::new(&["ahv", "avs", "ahv-nr"]),
        check: checks::ch_ahv,
    },
    Number { kind: "kr_rrn", forms: &["dddddd-ddddddd"], weak: &[], words: Cues::new(&[]), check: checks::kr_rrn },
    Number {
        kind: "mx_curp",
        forms: &["AAAAddddddAAAAAAXd"],
        weak: &[],
        words: Cues::new(&[]),
        check: checks::mx_curp,
    },
    Number {
        kind: "tr_kimlik",
        forms: &[],
        weak: &["ddddddddddd"],
        words: Cues::new(&["kimlik", "tckn", "tc", "tc no"]),
        check: checks::tr_kimlik,
    },
    Number {
        kind: "za_id",
        forms: &[],
        weak: &["ddddddddddddd", "dddddd dddd ddd"],
        words: Cues::new(&["id number", "id no", "identity number", "sa id", "rsa id", "identity"]),
        check: checks::za_id,
    },
    Number {
        kind: "jp_my_number",
        forms: &[],
        weak: &["dddddddddddd", "dddd dddd dddd", "dddd-dddd-dddd"],
        words: Cues::new(&["my number", "mynumber", "individual number", "マイナンバー", "個人番号"]),
        check: checks::jp_my_number,
    },
    Number {
        kind: "cl_rut",
        forms: &["dd.ddd.ddd-X", "d.ddd.ddd-X"],
        weak: &["dddddddd-X"],
        words: Cues::new(&["rut", "run"]),
        check: checks::cl_rut,
    },
    Number {
        kind: "ru_snils",
        forms: &["ddd-ddd-ddd dd"],
        weak: &["ddddddddddd"],
        words: Cues::new(&["snils", "снилс", "СНИЛС"]),
        check: checks::ru_snils,
    },
];

/// Every kind this module can name.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    NUMBERS.iter().map(|n| n.kind)
}

/// One way to write a number.
struct Written {
    number: &'static Number,
    form: &'static str,
    /// Words around must say what it is.
    weak: bool,
    /// Digits and nothing else.
    plain: bool,
}

impl Written {
    fn new(number: &'static Number, form: &'static str, weak: bool) -> Self {
        Self { number, form, weak, plain: form.bytes().all(|f| f == b'd') }
    }
}

/// Forms by the length of their first run of letters and digits; strong ones first.
fn forms(first_run: usize) -> &'static [Written] {
    static BY_LENGTH: OnceLock<Vec<Vec<Written>>> = OnceLock::new();
    let by_length = BY_LENGTH.get_or_init(|| {
        let mut table: Vec<Vec<Written>> = Vec::new();
        let strong =
            NUMBERS.iter().flat_map(|number| number.forms.iter().map(move |form| Written::new(number, form, false)));
        let weak =
            NUMBERS.iter().flat_map(|number| number.weak.iter().map(move |form| Written::new(number, form, true)));
        for written in strong.chain(weak) {
            let length = written.form.bytes().take_while(|&f| is_word(f)).count();
            table.resize_with(table.len().max(length + 1), Vec::new);
            table[length].push(written);
        }
        table
    });
    by_length.get(first_run).map_or(&[], Vec::as_slice)
}

/// A personal number that begins with the run of letters and digits `at..run_end`.
pub fn at(text: &[u8], at: usize, run_end: usize) -> Option<Hit<'static>> {
    if matches!(before(text, at), Some(b'.' | b'-' | b'/' | b'_')) && at >= 2 && is_word(text[at - 2]) {
        return None;
    }
    let forms = forms(run_end - at);
    if forms.is_empty() {
        return None;
    }
    let run = &text[at..run_end];
    let digits = run.iter().all(u8::is_ascii_digit);
    // One that the words around name comes before one that merely fits.
    let mut fitting = None;
    for Written { number, form, weak, plain } in forms {
        if fitting.is_some() && !weak {
            continue;
        }
        // A plain one is the whole run.
        let end = match plain {
            true => (digits && alone(text, run_end) && (number.check)(run)).then_some(run_end),
            false => fits(text, at, form, number.check),
        };
        let Some(end) = end else { continue };
        let hit = Hit { kind: number.kind, start: at, end };
        if near(text, at, 40, &number.words) {
            return Some(hit);
        }
        fitting = fitting.or((!weak).then_some(hit));
    }
    fitting
}

/// Whether a number may end at `end`: no letter or digit follows, nor a hyphen and one.
fn alone(text: &[u8], end: usize) -> bool {
    ends(text, end) && !(text.get(end) == Some(&b'-') && text.get(end + 1).copied().is_some_and(is_word))
}

/// End of `form` at `at`, if the text is written so, stands alone and passes `check`.
fn fits(text: &[u8], at: usize, form: &str, check: Check) -> Option<usize> {
    let end = at + form.len();
    let part = text.get(at..end)?;
    // What follows tells most of them apart.
    if !alone(text, end) {
        return None;
    }
    let same = part.iter().zip(form.bytes()).all(|(&b, f)| match f {
        b'd' => b.is_ascii_digit(),
        b'A' => b.is_ascii_alphabetic(),
        b'X' => b.is_ascii_alphanumeric(),
        literal => b == literal,
    });
    if !same {
        return None;
    }
    let mut compact = [0u8; 24];
    let mut n = 0;
    for &b in part.iter().filter(|b| b.is_ascii_alphanumeric()) {
        compact[n] = b.to_ascii_uppercase();
        n += 1;
    }
    check(&compact[..n]).then_some(end)
}
