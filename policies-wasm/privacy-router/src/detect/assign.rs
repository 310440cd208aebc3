//! Values that the word before them calls secret: `password: hunter2!`, `"client_secret": "…"`, `Authorization: Bearer …`.

use super::Hit;
use crate::normalize::base64_decode;
use crate::text::{before, below, continues, entropy, is_word, run, short_run};

/// Longest value that is looked at, in bytes.
const LONGEST: usize = 600;

/// What a telling word promises.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// People choose it: short is fine, random it need not be.
    Password,
    /// A machine made it: long and random.
    Secret,
}

/// What the lowercase `word` promises about the value assigned to it. `previous` is the word before it, lowercase, where
/// only `_`, `-` or a space stands between.
pub fn promise(word: &[u8], previous: &[u8]) -> Option<Promise> {
    const PASSWORDS: &[&[u8]] = &[
        b"password",
        b"passwd",
        b"passphrase",
        b"passwort",
        b"kennwort",
        "contraseña".as_bytes(),
        b"senha",
        b"pwd",
        b"passcode",
        b"smtppass",
        b"dbpass",
        b"userpass",
        b"parola",
        b"wachtwoord",
        "lösenord".as_bytes(),
        "hasło".as_bytes(),
        b"heslo",
        "jelszó".as_bytes(),
        b"salasana",
        b"adgangskode",
        "şifre".as_bytes(),
        "пароль".as_bytes(),
    ];
    const SECRETS: &[&[u8]] = &[
        b"secret",
        b"token",
        b"apikey",
        b"accesskey",
        b"secretkey",
        b"privatekey",
        b"accountkey",
        b"sharedaccesskey",
        b"authkey",
        b"credential",
        b"credentials",
        b"bearer",
        b"encryptionkey",
        b"signingkey",
    ];
    const OPEN: &[&[u8]] = &[
        b"next",
        b"page",
        b"csrf",
        b"xsrf",
        b"continuation",
        b"sync",
        b"public",
        b"nextpage",
        b"cursor",
        b"per",
        b"max",
        b"stop",
        b"eos",
        b"bos",
        b"pad",
    ];
    if PASSWORDS.iter().any(|w| word.ends_with(w))
        || matches!(word, b"pw" | b"pass" | b"psw" | b"pin")
        || word == b"passe" && previous == b"de"
    {
        return Some(Promise::Password);
    }
    if SECRETS.iter().any(|w| word.ends_with(w)) {
        let open = OPEN.iter().any(|w| previous == *w || (word.len() > w.len() && word.starts_with(w)));
        return (!open).then_some(Promise::Secret);
    }
    let telling_key = matches!(
        previous,
        b"api"
            | b"access"
            | b"secret"
            | b"private"
            | b"encryption"
            | b"account"
            | b"auth"
            | b"signing"
            | b"master"
            | b"client"
            | b"service"
            | b"license"
            | b"webhook"
            | b"signature"
            | b"session"
            | b"shared"
            | b"storage"
            | b"subscription"
            | b"app"
            | b"hmac"
            | b"the"
            | b"my"
            | b"our"
    );
    (word == b"key" && telling_key).then_some(Promise::Secret)
}

/// The secret assigned to the telling word at `word_start..word_end`.
pub fn value(text: &[u8], word_start: usize, word_end: usize, promised: Promise) -> Option<Hit<'static>> {
    if let Some((start, quote)) = operator(text, word_end) {
        return judged(text, start, quote, promised);
    }
    if let Some(start) = below(text, word_start, word_end) {
        return judged(text, start, None, promised);
    }
    // `my password Tr0ub4dor&3`: said without a verb, it must look like nothing else.
    let start = run(text, word_end, |b| b == b' ');
    if start != word_end + 1 || !text.get(start).copied().is_some_and(is_word) {
        return None;
    }
    judged(text, start, None, promised).filter(|hit| {
        let value = &text[hit.start..hit.end];
        let has = |of: fn(&u8) -> bool| value.iter().any(of);
        let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_lowercase);
        let odd = value[1..].iter().any(u8::is_ascii_uppercase) || has(|b| b"-!#$%^&*?@+".contains(b));
        match promised {
            Promise::Password => value.len() >= 8 && mixed && odd,
            Promise::Secret => value.len() >= 20 && mixed,
        }
    })
}

/// The value at `start`, in quotes or not, if it is what was promised.
fn judged(text: &[u8], start: usize, quote: Option<u8>, promised: Promise) -> Option<Hit<'static>> {
    let end = match quote {
        Some(q) => {
            let mut end = start;
            while end < text.len().min(start + LONGEST) && text[end] != q && text[end] != b'\n' {
                end += 1 + usize::from(text[end] == b'\\');
            }
            let end = end.min(text.len());
            if end > start && text[end - 1] == b'\\' { end - 1 } else { end }
        }
        None => {
            let end = short_run(text, start, LONGEST, |b| {
                !b.is_ascii_whitespace()
                    && !matches!(b, b',' | b';' | b'"' | b'\'' | b'`' | b'<' | b'&' | b')' | b'}' | b']')
            });
            let end = ampersand(text, start, end);
            if end > start && matches!(text[end - 1], b'.' | b':') { end - 1 } else { end }
        }
    };
    let value = text.get(start..end)?;
    let kind = match promised {
        Promise::Password if password(value, quote.is_some()) => "password",
        Promise::Secret if secret(value) => "secret",
        _ => return None,
    };
    Some(Hit { kind, start, end })
}

/// `end`, or past the ampersands that are the value's own: in a query another name and `=` follow.
fn ampersand(text: &[u8], start: usize, end: usize) -> usize {
    if text.get(end) != Some(&b'&') {
        return end;
    }
    let whole = short_run(text, start, LONGEST, |b| {
        !b.is_ascii_whitespace() && !matches!(b, b',' | b';' | b'"' | b'\'' | b'<')
    });
    if text[end..whole].contains(&b'=') { end } else { whole }
}

/// `Basic dXNlcjpwYXNz`: a name and a password in base64 (RFC 7617). `end` is the end of the word.
pub fn basic(text: &[u8], end: usize) -> Option<Hit<'static>> {
    (text.get(end) == Some(&b' ')).then_some(())?;
    let start = end + 1;
    let stop = short_run(text, start, LONGEST, |b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
    let pair = base64_decode(&text[start..stop])?;
    let shown = pair.len() >= 5 && pair.contains(&b':') && pair.iter().all(|b| (b' '..=b'~').contains(b));
    shown.then_some(Hit { kind: "secret", start, end: stop })
}

/// Where the value begins and the quote it stands in: after `:`, `=`, `:=`, `=>`, ` is `, ` | `, `>`, `value=` or `Bearer `.
fn operator(text: &[u8], word_end: usize) -> Option<(usize, Option<u8>)> {
    let blank = |at: usize| run(text, at, |b| matches!(b, b' ' | b'\t'));
    // The key's own closing quote or bracket, or mark-up; then blanks.
    let mut i = run(text, word_end, |b| matches!(b, b'"' | b'\'' | b'\\' | b']' | b'`' | b'*'));
    if continues(text, i, "</") {
        i = short_run(text, i, 12, |b| b != b'>') + 1;
    }
    let closed = i > word_end;
    i = blank(i);
    let next = *text.get(i)?;
    if matches!(next, b':' | b'=') {
        i = run(text, i, |b| matches!(b, b':' | b'=' | b'>'));
        if text.get(i) == Some(&b'~')
            || i - word_end > 20
            || text[word_end..i].windows(2).any(|w| w == b"==" || w == b"::")
        {
            return None;
        }
        i = blank(run(text, blank(i), |b| b == b'*'));
    } else if i > word_end && VERBS.iter().any(|w| continues(text, i, w)) {
        i = blank(run(text, i, |b| b != b' '));
        if text.get(i) == Some(&b':') {
            i = blank(i + 1);
        }
    } else if next == b'|' && i > word_end && text.get(i + 1) == Some(&b' ') {
        i = blank(i + 1);
    } else if next == b'>' && i == word_end {
        i += 1;
    } else if closed && continues(text, i, "value=") {
        i += "value=".len();
    } else if word_end >= 6 && continues(text, word_end - 6, "bearer") && i > word_end {
        return Some((i, None));
    } else {
        i = remote(text, i)?;
    }
    for scheme in ["bearer ", "basic ", "token "] {
        if continues(text, i, scheme) {
            i += scheme.len();
        }
    }
    let escaped = usize::from(text.get(i) == Some(&b'\\'));
    match text.get(i + escaped) {
        Some(&q @ (b'"' | b'\'' | b'`')) => Some((i + escaped + 1, Some(q))),
        Some(_) => Some((i, None)),
        None => None,
    }
}

/// Between a word and its value.
const VERBS: &[&str] =
    &["is ", "was ", "ist ", "lautet ", "es ", "est ", "è ", "é ", "era ", "becomes ", "-> ", "→ ", "– ", "— "];

/// `password for the server: …`, `password for the server is …`: up to five small words, then a colon or a verb, and a blank. Where
/// the value begins.
fn remote(text: &[u8], at: usize) -> Option<usize> {
    let mut i = at;
    for _ in 0..5 {
        let end = short_run(text, i, 16, is_word);
        if end == i {
            return None;
        }
        match (text.get(end)?, text.get(end + 1)) {
            (b':', Some(b' ')) => return Some(end + 2),
            // `password of the admin account is …`
            (b' ', Some(_)) if VERBS.iter().any(|verb| continues(text, end + 1, verb)) => {
                let after = run(text, end + 1, |b| b != b' ') + 1;
                if !["set ", "changed ", "reset ", "updated "].iter().any(|word| continues(text, after, word)) {
                    return Some(after);
                }
                i = after;
            }
            (b' ', Some(b't'))
                if matches!(&text[i..end], b"set" | b"changed" | b"reset" | b"updated")
                    && continues(text, end + 1, "to ") =>
            {
                return Some(end + 4);
            }
            (b' ', Some(_)) => i = end + 1,
            _ => return None,
        }
    }
    None
}

/// A password somebody could type: not a placeholder, a type, a path into a program, or a sentence.
fn password(value: &[u8], quoted: bool) -> bool {
    if !(4..=128).contains(&value.len()) || value.contains(&b' ') || is_placeholder(value) {
        return false;
    }
    let digit = value.iter().any(u8::is_ascii_digit);
    let symbol = value.iter().any(|b| b"!@#$%^&*?+~".contains(b));
    let code = value.iter().any(|b| matches!(b, b'(' | b'[' | b'{' | b'/')) || value.windows(2).any(|w| w == b"::");
    if quoted {
        digit || symbol || (value.len() >= 6 && !mixed_identifier(value))
    } else {
        !code && (symbol || digit && !value.contains(&b'.'))
    }
}

/// `enterPassword`, `user_password`: a name rather than a value.
fn mixed_identifier(value: &[u8]) -> bool {
    let word = |w: &[u8]| value.len() >= w.len() && value.windows(w.len()).any(|part| part.eq_ignore_ascii_case(w));
    value.iter().all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'-' | b'.' | b':'))
        && (word(b"pass") || word(b"pwd") || value.iter().any(|b| matches!(b, b'_' | b'.' | b':')))
}

/// Long, of a token's alphabet, and random enough.
fn secret(value: &[u8]) -> bool {
    let alphabet = value.iter().all(|&b| b.is_ascii_alphanumeric() || b"_-+/=.~!@#$%^&*:".contains(&b));
    if !(12..=512).contains(&value.len()) || !alphabet || is_placeholder(value) {
        return false;
    }
    let digits = value.iter().filter(|b| b.is_ascii_digit()).count();
    let letters = value.iter().filter(|b| b.is_ascii_alphabetic()).count();
    let dotted_path = value.contains(&b'.') && digits < 3;
    let mixed = value.iter().any(u8::is_ascii_lowercase) && value.iter().any(u8::is_ascii_uppercase);
    let random = entropy(value) >= if digits >= 2 { 3.0 } else { 4.0 };
    (digits >= 2 && letters >= 2 || digits == 1 && mixed && value.len() >= 20) && !dotted_path && random
}

/// Something that stands for a value: `${X}`, `<password>`, `xxxx`, `os.environ[…]`, `None`, `changeme`.
pub fn is_placeholder(value: &[u8]) -> bool {
    const WORDS: &[&[u8]] = &[
        b"null",
        b"none",
        b"nil",
        b"true",
        b"false",
        b"undefined",
        b"string",
        b"str",
        b"password",
        b"passwd",
        b"pass",
        b"secret",
        b"token",
        b"required",
        b"optional",
        b"changeme",
        b"change-me",
        b"redacted",
        b"example",
        b"hidden",
        b"empty",
        b"text",
        b"bytes",
        b"varchar",
        b"any",
        b"object",
        b"username",
        b"integer",
        b"boolean",
        b"number",
        b"pwd",
        b"todo",
        b"missing",
        b"invalid",
        b"incorrect",
        b"wrong",
        b"expired",
    ];
    let has = |w: &[u8]| value.windows(w.len()).any(|part| part.eq_ignore_ascii_case(w));
    let Some(&first) = value.first() else { return true };
    matches!(first, b'$' | b'<' | b'%' | b'{')
        && (value.len() < 3
            || matches!(value[1], b'{' | b'(' | b'_' | b'A'..=b'Z' | b'a'..=b'z')
                && !value[1..].iter().any(|b| b"!@#^&*".contains(b)))
        || value.iter().all(|b| *b == first || matches!(b, b'.' | b'*' | b'-'))
        || WORDS.iter().any(|w| value.eq_ignore_ascii_case(w))
        || [
            b"your-".as_slice(),
            b"your_",
            b"yourpass",
            b"yourkey",
            b"environ",
            b"getenv",
            b"process.env",
            b"xxxx",
            b"****",
            b"{{",
            b"${",
            b"<your",
            b"placeholder",
            b"redacted",
            b"config.",
            b"settings.",
        ]
        .iter()
        .any(|w| has(w))
}

/// The lowercase word that ends right before `at`, with one `_`, `-` or blank between; empty: none.
pub fn previous_word(text: &[u8], at: usize, out: &mut [u8; 24]) -> usize {
    let Some(b'_' | b'-' | b' ') = before(text, at) else { return 0 };
    let end = at - 1;
    let n = text[..end].iter().rev().take(24).take_while(|&&b| is_word(b)).count();
    for (slot, b) in out.iter_mut().zip(&text[end - n..end]) {
        *slot = b.to_ascii_lowercase();
    }
    n
}
