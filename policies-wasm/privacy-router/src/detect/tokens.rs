//! Secrets that say what they are: issuers' prefixes, JSON Web Tokens, PEM private keys.

use super::Hit;
use crate::normalize::base64_decode;
use crate::text::{before, entropy, is_word, run, short_run};

/// What may follow a prefix.
#[derive(Clone, Copy)]
enum Body {
    /// Letters and digits.
    Alnum,
    /// Capital letters and digits.
    Upper,
    /// Letters, digits, `_` and `-`.
    Url,
    /// Letters, digits, `_`, `-`, `.`, `/`, `+`, `=`.
    Wide,
}

impl Body {
    fn takes(self, b: u8) -> bool {
        match self {
            Body::Alnum => b.is_ascii_alphanumeric(),
            Body::Upper => b.is_ascii_uppercase() || b.is_ascii_digit(),
            Body::Url => b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'),
            Body::Wide => b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/' | b'+' | b'='),
        }
    }
}

/// Prefix, kind, alphabet, and how long the rest must and may be.
type Issued = (&'static [u8], &'static str, Body, usize, usize);

/// From the issuers' documentation of their own formats. Ordered by first byte.
const ISSUED: &[Issued] = &[
    (b"AKIA", "aws_access_key", Body::Upper, 16, 16),
    (b"ASIA", "aws_access_key", Body::Upper, 16, 16),
    (b"ABIA", "aws_access_key", Body::Upper, 16, 16),
    (b"ACCA", "aws_access_key", Body::Upper, 16, 16),
    (b"AIza", "gcp_api_key", Body::Url, 35, 35),
    (b"AGE-SECRET-KEY-1", "private_key", Body::Upper, 58, 58),
    (b"ATATT3", "atlassian_token", Body::Wide, 100, 300),
    (b"GOCSPX-", "gcp_api_key", Body::Url, 24, 32),
    (b"NRAK-", "newrelic_key", Body::Upper, 27, 27),
    (b"PMAK-", "postman_key", Body::Url, 50, 64),
    (b"SG.", "sendgrid_key", Body::Wide, 60, 70),
    (b"SK", "twilio_key", Body::Alnum, 32, 32),
    (b"cio", "crates_io_token", Body::Alnum, 32, 32),
    (b"dop_v1_", "digitalocean_token", Body::Alnum, 64, 64),
    (b"dapi", "databricks_token", Body::Alnum, 32, 32),
    (b"dckr_pat_", "docker_token", Body::Url, 24, 40),
    (b"figd_", "figma_token", Body::Url, 40, 60),
    (b"ghp_", "github_token", Body::Alnum, 36, 255),
    (b"gho_", "github_token", Body::Alnum, 36, 255),
    (b"ghu_", "github_token", Body::Alnum, 36, 255),
    (b"ghs_", "github_token", Body::Alnum, 36, 255),
    (b"ghr_", "github_token", Body::Alnum, 36, 255),
    (b"github_pat_", "github_token", Body::Url, 50, 100),
    (b"glpat-", "gitlab_token", Body::Wide, 20, 64),
    (b"gldt-", "gitlab_token", Body::Url, 20, 64),
    (b"glrt-", "gitlab_token", Body::Url, 20, 64),
    (b"glptt-", "gitlab_token", Body::Url, 40, 64),
    (b"glcbt-", "gitlab_token", Body::Url, 20, 64),
    (b"gsk_", "groq_key", Body::Alnum, 40, 60),
    (b"glsa_", "grafana_token", Body::Url, 40, 60),
    (b"hooks.slack.com/services/T", "slack_token", Body::Wide, 30, 80),
    (b"hf_", "huggingface_token", Body::Alnum, 30, 50),
    (b"hvs.", "vault_token", Body::Url, 24, 200),
    (b"key-", "mailgun_key", Body::Alnum, 32, 32),
    (b"lin_api_", "linear_key", Body::Alnum, 32, 64),
    (b"npm_", "npm_token", Body::Alnum, 36, 36),
    (b"pypi-", "pypi_token", Body::Url, 50, 400),
    (b"pul-", "pulumi_token", Body::Alnum, 40, 40),
    (b"rk_live_", "stripe_key", Body::Alnum, 16, 255),
    (b"rk_test_", "stripe_key", Body::Alnum, 16, 255),
    (b"rubygems_", "rubygems_token", Body::Alnum, 48, 48),
    (b"sk_live_", "stripe_key", Body::Alnum, 16, 255),
    (b"sk_test_", "stripe_key", Body::Alnum, 16, 255),
    (b"sk-ant-", "anthropic_key", Body::Url, 32, 200),
    (b"sk-proj-", "openai_key", Body::Url, 32, 250),
    (b"sk-svcacct-", "openai_key", Body::Url, 32, 250),
    (b"sk-admin-", "openai_key", Body::Url, 32, 250),
    (b"sk-or-v1-", "openrouter_key", Body::Alnum, 40, 100),
    (b"sk-", "openai_key", Body::Alnum, 32, 64),
    (b"shpat_", "shopify_token", Body::Alnum, 32, 32),
    (b"shpss_", "shopify_token", Body::Alnum, 32, 32),
    (b"sq0atp-", "square_token", Body::Url, 22, 30),
    (b"sq0csp-", "square_token", Body::Url, 40, 50),
    (b"whsec_", "stripe_key", Body::Wide, 24, 255),
    (b"xoxb-", "slack_token", Body::Url, 20, 255),
    (b"xoxp-", "slack_token", Body::Url, 20, 255),
    (b"xoxa-", "slack_token", Body::Url, 20, 255),
    (b"xoxr-", "slack_token", Body::Url, 20, 255),
    (b"xoxs-", "slack_token", Body::Url, 20, 255),
    (b"xoxe.", "slack_token", Body::Wide, 20, 255),
    (b"xapp-", "slack_token", Body::Url, 20, 255),
    (b"xai-", "xai_key", Body::Alnum, 60, 100),
    (b"ya29.", "gcp_api_key", Body::Wide, 20, 400),
];

/// Every kind this module can name.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    let marked = ["telegram_token", "discord_token", "mailchimp_key", "azure_client_secret"];
    ISSUED.iter().map(|i| i.1).chain(["jwt", "private_key"]).chain(marked)
}

/// Where the prefixes of each first byte stand in [`ISSUED`].
const BY_FIRST: [(u8, u8); 128] = {
    let mut ranges = [(0u8, 0u8); 128];
    let mut i = 0;
    while i < ISSUED.len() {
        let first = ISSUED[i].0[0] as usize;
        if ranges[first].1 == 0 {
            ranges[first].0 = i as u8;
        }
        ranges[first].1 = i as u8 + 1;
        i += 1;
    }
    ranges
};

/// Prefixes that begin with `first`.
fn issued(first: u8) -> &'static [Issued] {
    let (from, to) = BY_FIRST.get(usize::from(first)).copied().unwrap_or_default();
    &ISSUED[usize::from(from)..usize::from(to)]
}

/// Bits of the first two bytes of every prefix, each by its lowest six bits.
static FIRST_TWO: [u64; 64] = {
    let mut bits = [0u64; 64];
    let mut i = 0;
    while i < ISSUED.len() {
        let prefix = ISSUED[i].0;
        bits[(prefix[0] & 63) as usize] |= 1 << (prefix[1] & 63);
        i += 1;
    }
    bits[(b'e' & 63) as usize] |= 1 << (b'y' & 63);
    bits
};

/// A token that begins at `at`, where a word starts.
#[inline]
pub fn at(text: &[u8], at: usize) -> Option<Hit<'static>> {
    let &[first, second] = text.get(at..at + 2)?.first_chunk()?;
    if FIRST_TWO[usize::from(first & 63)] >> (second & 63) & 1 == 0 {
        return None;
    }
    prefixed(text, at)
}

fn prefixed(text: &[u8], at: usize) -> Option<Hit<'static>> {
    let rest = &text[at..];
    if rest.len() < 16 {
        return None;
    }
    if rest.starts_with(b"eyJ") {
        return jwt(text, at);
    }
    issued(rest[0]).iter().filter(|(prefix, ..)| rest.starts_with(prefix)).find_map(
        |&(prefix, kind, body, least, most)| {
            let from = at + prefix.len();
            let end = trim(text, from, short_run(text, from, most + 1, |b| body.takes(b)));
            let value = &text[from..end];
            let hexadecimal = !matches!(kind, "twilio_key" | "mailgun_key" | "databricks_token")
                || value.iter().all(u8::is_ascii_hexdigit);
            ((least..=most).contains(&value.len())
                && hexadecimal
                && (random(value) || matches!(body, Body::Upper) && entropy(value) > 2.5)
                && ends_alone(text, end, body))
            .then_some(Hit { kind, start: at, end })
        },
    )
}

/// A token without a prefix, told by what stands inside of it; `start..end` is its first word.
pub fn marked(text: &[u8], start: usize, end: usize) -> Option<Hit<'static>> {
    let url = |from: usize| short_run(text, from, 80, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let hit = |kind, end| Some(Hit { kind, start, end });
    let length = end - start;
    let word = &text[start..end];
    match text.get(end)? {
        // Telegram's bots: a number, a colon, 35 characters of which the first are AA.
        b':' if (8..=10).contains(&length)
            && text[end + 1..].starts_with(b"AA")
            && word.iter().all(u8::is_ascii_digit) =>
        {
            let stop = url(end + 1);
            (stop - end == 36 && random(&text[end + 3..stop])).then_some(())?;
            hit("telegram_token", stop)
        }
        // Mailchimp: 32 hexadecimal digits and a data centre.
        b'-' if length == 32 && text[end + 1..].starts_with(b"us") && word.iter().all(u8::is_ascii_hexdigit) => {
            let stop = run(text, end + 3, |b| b.is_ascii_digit());
            (stop > end + 3 && stop <= end + 5 && random(word)).then_some(())?;
            hit("mailchimp_key", stop)
        }
        // Discord: an identifier in base64, six characters, and at least 27.
        b'.' if (23..=28).contains(&length) && matches!(word[0], b'M' | b'N' | b'O') => {
            let id = base64_decode(word)?;
            let middle = url(end + 1);
            let stop = url(middle + 1);
            (id.iter().all(u8::is_ascii_digit)
                && middle - end == 7
                && text.get(middle) == Some(&b'.')
                && stop - middle >= 28)
                .then_some(())?;
            hit("discord_token", stop)
        }
        // Microsoft Entra: three characters, a digit, `Q~`, and 31 to 34 more.
        b'~' if length == 5 && word[4] == b'Q' && word[3].is_ascii_digit() => {
            let stop =
                short_run(text, end + 1, 40, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'~'));
            ((32..=35).contains(&(stop - end)) && random(&text[end + 1..stop])).then_some(())?;
            hit("azure_client_secret", stop)
        }
        _ => None,
    }
}

/// A sentence's full stop or a padded value's slash is not the token's.
fn trim(text: &[u8], from: usize, mut end: usize) -> usize {
    while end > from && matches!(text[end - 1], b'.' | b'/' | b'-') {
        end -= 1;
    }
    end
}

fn ends_alone(text: &[u8], end: usize, body: Body) -> bool {
    !text.get(end).copied().is_some_and(|b| is_word(b) && !body.takes(b))
}

/// Not a placeholder: enough different characters, and not words joined by hyphens.
fn random(value: &[u8]) -> bool {
    let digits = value.iter().filter(|b| b.is_ascii_digit()).count();
    entropy(value) > 2.8
        && (digits > 0 || value.iter().any(u8::is_ascii_uppercase) && value.iter().any(u8::is_ascii_lowercase))
}

/// Three base64url parts, the first a JSON object that names its algorithm (RFC 7519).
fn jwt(text: &[u8], at: usize) -> Option<Hit<'static>> {
    let part = |from: usize| run(text, from, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let header = part(at);
    if header - at < 16 || text.get(header) != Some(&b'.') {
        return None;
    }
    let payload = part(header + 1);
    if payload - header < 5 || text.get(payload) != Some(&b'.') {
        return None;
    }
    let end = part(payload + 1);
    let json = base64_decode(&text[at..header])?;
    let named = json.first() == Some(&b'{') && json.windows(5).any(|w| w == b"\"alg\"" || w == b"\"enc\"");
    named.then_some(Hit { kind: "jwt", start: at, end })
}

/// A PEM private key whose armour begins at the hyphen `at` and holds key material.
pub fn pem(text: &[u8], at: usize) -> Option<Hit<'static>> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    if before(text, at) == Some(b'-') || !text[at..].starts_with(BEGIN) {
        return None;
    }
    let label = at + BEGIN.len();
    let label_end = run(text, label, |b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ');
    let name = &text[label..label_end];
    let private = name.ends_with(b"PRIVATE KEY") || name.ends_with(b"PRIVATE KEY BLOCK");
    if !private || !text[label_end..].starts_with(b"-----") {
        return None;
    }
    let body = label_end + 5;
    let window = &text[body..(body + 400).min(text.len())];
    let material = window
        .split(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=')))
        .any(|w| w.len() >= 16 && entropy(w) > 2.5);
    let end_mark = b"-----END ";
    let end =
        text[body..].windows(end_mark.len()).position(|w| w == end_mark).map_or(text.len().min(body + 4096), |p| {
            run(text, body + p + end_mark.len(), |b| b.is_ascii_uppercase() || b == b' ' || b == b'-')
        });
    material.then_some(Hit { kind: "private_key", start: at, end })
}
