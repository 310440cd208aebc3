//! How each number is made: digits by chance, check digits by rule.

use crate::random::{DIGITS, Random, UPPER};

pub(super) fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

pub(super) fn join(digits: &[u32]) -> String {
    digits.iter().map(u32::to_string).collect()
}

pub(super) fn weigh(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(d, w)| d * w).sum()
}

/// The digit that makes body and digit satisfy Luhn.
pub(super) fn luhn_check(body: &[u32]) -> u32 {
    let sum: u32 =
        body.iter().rev().enumerate().map(|(i, d)| if i % 2 == 0 { d * 2 / 10 + d * 2 % 10 } else { *d }).sum();
    (10 - sum % 10) % 10
}

pub(super) fn luhn_number(r: &mut Random, prefix: String, length: usize) -> String {
    let body = format!("{prefix}{}", r.text(DIGITS, length - 1 - prefix.len()));
    let check = luhn_check(&digits(&body));
    body + &check.to_string()
}

/// Random digits until they satisfy a rule.
pub(super) fn search(r: &mut Random, length: usize, holds: fn(&[u32]) -> bool) -> String {
    loop {
        let d = r.digits(length);
        if d[0] + d[1] > 0 && holds(&d) {
            return join(&d);
        }
    }
}

/// Random dates until `make` has a number for one.
pub(super) fn dated(r: &mut Random, make: impl Fn(u64, u64, u64, &mut Random) -> Option<String>) -> String {
    loop {
        let (y, m, d) = (r.range(35, 99), r.range(1, 12), r.range(1, 28));
        if let Some(number) = make(y, m, d, r) {
            return number;
        }
    }
}

/// Compact, or in groups with blanks between.
pub(super) fn grouped(r: &mut Random, make: impl Fn(&mut Random) -> String, groups: &[usize]) -> String {
    let compact = make(r);
    if r.one_in(2) {
        return compact;
    }
    let mut rest = compact.as_str();
    let parts: Vec<&str> = groups
        .iter()
        .map(|&n| {
            let (part, others) = rest.split_at(n);
            rest = others;
            part
        })
        .collect();
    parts.join(" ")
}

pub(super) fn card(r: &mut Random) -> String {
    let (prefix, length) = match r.range(0, 9) {
        0..=4 => ("4".to_owned(), 16),
        5 | 6 => (r.range(51, 55).to_string(), 16),
        7 => (r.pick(&["34", "37"]).to_owned(), 15),
        8 => (r.range(2221, 2720).to_string(), 16),
        _ => ("6011".to_owned(), 16),
    };
    let n = luhn_number(r, prefix, length);
    match (r.range(0, 2), length) {
        (0, _) => n,
        (_, 15) => format!("{} {} {}", &n[..4], &n[4..10], &n[10..]),
        (s, _) => [&n[..4], &n[4..8], &n[8..12], &n[12..]].join(if s == 1 { " " } else { "-" }),
    }
}

pub(super) fn iban(r: &mut Random) -> String {
    let (country, bban) = match r.range(0, 5) {
        0 | 1 => ("DE", r.text(DIGITS, 18)),
        2 => ("GB", r.fill("@@@@##############")),
        3 => ("FR", r.fill("####################@##")),
        4 => ("NL", r.fill("@@@@##########")),
        _ => ("ES", r.text(DIGITS, 20)),
    };
    let rest = format!("{bban}{country}00").chars().fold(0u32, |n, c| match c.to_digit(36).unwrap_or(0) {
        d @ 0..=9 => (n * 10 + d) % 97,
        d => (n * 100 + d) % 97,
    });
    let compact = format!("{country}{:02}{bban}", 98 - rest);
    if r.one_in(2) {
        return compact;
    }
    compact.as_bytes().chunks(4).map(|c| String::from_utf8_lossy(c).into_owned()).collect::<Vec<_>>().join(" ")
}

pub(super) fn nhs(r: &mut Random) -> String {
    search(r, 10, |d| (weigh(d, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) + d[9]).is_multiple_of(11))
}

pub(super) fn eleven(r: &mut Random) -> String {
    search(r, 9, |d| weigh(d, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11 == d[8])
}

pub(super) fn de_tax(r: &mut Random) -> String {
    // Nine different digits of ten, one of them twice.
    let mut pool: Vec<u32> = (0..10).collect();
    pool.remove(r.range(0, 9) as usize);
    pool.push(pool[r.range(0, 8) as usize]);
    for i in (1..10).rev() {
        pool.swap(i, r.range(0, i as u64) as usize);
    }
    if pool[0] == 0 {
        pool.swap(0, 5);
    }
    if pool[0] == 0 {
        pool.swap(0, 6);
    }
    let product = pool.iter().fold(10, |p, d| {
        let s = (d + p) % 10;
        (if s == 0 { 10 } else { s }) * 2 % 11
    });
    join(&pool) + &((11 - product) % 10).to_string()
}

pub(super) fn fr_nir(r: &mut Random) -> String {
    let body = format!(
        "{}{:02}{:02}{:02}{:03}{:03}",
        r.range(1, 2),
        r.range(30, 99),
        r.range(1, 12),
        r.range(1, 95),
        r.range(1, 990),
        r.range(1, 990)
    );
    let key = 97 - body.parse::<u64>().unwrap_or(0) % 97;
    if r.one_in(2) {
        format!("{body}{key:02}")
    } else {
        format!(
            "{} {} {} {} {} {} {key:02}",
            &body[..1],
            &body[1..3],
            &body[3..5],
            &body[5..7],
            &body[7..10],
            &body[10..]
        )
    }
}

pub(super) fn es_dni(r: &mut Random) -> String {
    let n = r.range(10_000_000, 99_999_999);
    format!("{n}{}{}", r.pick(&["", "-"]), &"TRWAGMYFPDXBNJZSQVHLCKE"[(n % 23) as usize..=(n % 23) as usize])
}

pub(super) fn it_cf(r: &mut Random) -> String {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let body = format!(
        "{}{}{}{:02}{}{}",
        r.text(UPPER, 6),
        r.text(DIGITS, 2),
        r.text(b"ABCDEHLMPRST", 1),
        r.range(1, 31),
        r.text(b"ABCDEFGHIL", 1),
        r.text(DIGITS, 3)
    );
    let index = |c: char| c.to_digit(10).unwrap_or_else(|| c as u32 - 'A' as u32);
    let sum: u32 =
        body.chars().enumerate().map(|(i, c)| if i % 2 == 0 { ODD[index(c) as usize] } else { index(c) }).sum();
    format!("{body}{}", (b'A' + (sum % 26) as u8) as char)
}

pub(super) fn be(r: &mut Random) -> String {
    dated(r, |y, m, d, r| {
        let s = format!("{y:02}{m:02}{d:02}{:03}", r.range(1, 997));
        let key = 97 - s.parse::<u64>().ok()? % 97;
        Some(if r.one_in(2) {
            format!("{}.{}.{}-{}.{key:02}", &s[..2], &s[2..4], &s[4..6], &s[6..])
        } else {
            format!("{s}{key:02}")
        })
    })
}

pub(super) fn cpf(r: &mut Random) -> String {
    let mut d = r.digits(9);
    for n in [10u32, 11] {
        let sum: u32 = d.iter().zip((2..=n).rev()).map(|(d, w)| d * w).sum();
        d.push(sum * 10 % 11 % 10);
    }
    join(&d)
}

pub(super) fn aadhaar(r: &mut Random) -> String {
    // Verhoeff by its definition: permutations of D5 as strings of digits.
    const D: [&str; 10] = [
        "0123456789",
        "1234067895",
        "2340178956",
        "3401289567",
        "4012395678",
        "5987604321",
        "6598710432",
        "7659821043",
        "8765932104",
        "9876543210",
    ];
    const P: [&str; 8] = [
        "0123456789",
        "1576283094",
        "5803796142",
        "8916043527",
        "9453126870",
        "4286573901",
        "2793806415",
        "7046913258",
    ];
    let at = |row: &str, i: u32| row.as_bytes()[i as usize] as u32 - 48;
    let mut d = r.digits(11);
    d[0] = d[0] % 8 + 2;
    let c = d.iter().rev().enumerate().fold(0, |c, (i, &x)| at(D[c as usize], at(P[(i + 1) % 8], x)));
    let check = (0..10).find(|&x| at(D[c as usize], x) == 0).unwrap_or(0);
    join(&d) + &check.to_string()
}

pub(super) fn cn(r: &mut Random) -> String {
    let body = format!(
        "110{}{}{:02}{:02}{}",
        r.text(DIGITS, 3),
        r.range(1950, 2010),
        r.range(1, 12),
        r.range(1, 28),
        r.text(DIGITS, 3)
    );
    let sum = weigh(&digits(&body), &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]) as usize % 11;
    format!("{body}{}", &"10X98765432"[sum..=sum])
}

pub(super) fn mx_curp(r: &mut Random) -> String {
    let body = dated(r, |y, m, d, r| {
        Some(format!(
            "{}{y:02}{m:02}{d:02}{}{}{}0",
            r.text(UPPER, 4),
            r.text(b"HM", 1),
            r.text(UPPER, 2),
            r.text(UPPER, 3)
        ))
    });
    let value = |c: char| {
        let v = c.to_digit(36).unwrap_or(0);
        if c > 'N' { v + 1 } else { v }
    };
    let sum: u32 = body.chars().zip((2..=18).rev()).map(|(c, w)| value(c) * w).sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}
