//! Validity of personal numbers, each over its compact form: uppercase letters and digits, separators gone.

use crate::checksum::{day_exists, luhn, mod11_10, number, verhoeff, weighted};
use crate::text::digits;

/// Whether a compact number is valid.
pub type Check = fn(&[u8]) -> bool;

fn tail(value: u64, modulus: u64) -> u8 {
    (value % modulus) as u8
}

/// Area, group and serial that the Social Security Administration assigns (or the IRS, for ITINs: area 9xx is refused).
pub fn us_ssn(c: &[u8]) -> bool {
    let d = digits(c);
    let area = number(&d[..3]);
    area != 0 && area != 666 && area < 900 && number(&d[3..5]) != 0 && number(&d[5..]) != 0
}

/// Prefixes that HMRC allocates and a suffix A–D.
pub fn uk_nino(c: &[u8]) -> bool {
    !b"DFIQUV".contains(&c[0])
        && !b"DFIQUVO".contains(&c[1])
        && ![b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"].contains(&&[c[0], c[1]])
        && (b'A'..=b'D').contains(&c[8])
}

/// Modulus 11.
pub fn uk_nhs(c: &[u8]) -> bool {
    let d = digits(c);
    let check = (11 - weighted(&d[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11;
    check != 10 && check == u32::from(d[9])
}

/// MOD 11,10; exactly one digit of the first ten occurs twice or thrice.
pub fn de_tax_id(c: &[u8]) -> bool {
    let d = digits(c);
    let mut counts = [0u8; 10];
    d[..10].iter().for_each(|&x| counts[usize::from(x)] += 1);
    let repeated = counts.iter().filter(|&&n| n > 1).count();
    d[0] != 0 && repeated == 1 && counts.iter().all(|&n| n <= 3) && mod11_10(&d)
}

/// Sex, month, and the key 97 − number mod 97.
pub fn fr_nir(c: &[u8]) -> bool {
    let d = digits(c);
    let month = number(&d[3..5]);
    matches!(d[0], 1 | 2) && matches!(month, 1..=12 | 20..=42) && 97 - number(&d[..13]) % 97 == number(&d[13..])
}

/// Letter by modulus 23; foreigners' numbers begin with X, Y or Z.
pub fn es_dni(c: &[u8]) -> bool {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let first = match c[0] {
        b'X' => 0,
        b'Y' => 1,
        b'Z' => 2,
        b @ b'0'..=b'9' => u64::from(b - b'0'),
        _ => return false,
    };
    let rest = digits(&c[1..]);
    let value = first * 10u64.pow(rest.len() as u32) + number(&rest);
    c.last() == Some(&LETTERS[usize::from(tail(value, 23))])
}

/// Character 16 by the odd and even tables of the 1976 decree; digits may be written as letters L–V.
pub fn it_codice_fiscale(c: &[u8]) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let index = |b: u8| usize::from(if b.is_ascii_digit() { b - b'0' } else { b - b'A' });
    let value = |(i, &b): (usize, &u8)| if i % 2 == 0 { ODD[index(b)] } else { index(b) as u32 };
    let sum: u32 = c[..15].iter().enumerate().map(value).sum();
    b"ABCDEHLMPRST".contains(&c[8]) && u32::from(c[15] - b'A') == sum % 26
}

/// The eleven test.
pub fn nl_bsn(c: &[u8]) -> bool {
    let d = digits(c);
    let sum = weighted(&d[..8], &[9, 8, 7, 6, 5, 4, 3, 2]);
    sum != 0 && sum % 11 == u32::from(d[8])
}

/// Birth date, and 97 − number mod 97, with a leading 2 since the year 2000.
pub fn be_national(c: &[u8]) -> bool {
    let d = digits(c);
    let (body, key) = (number(&d[..9]), number(&d[9..]));
    day_exists(number(&d[2..4]), number(&d[4..6])) && (97 - body % 97 == key || 97 - (2_000_000_000 + body) % 97 == key)
}

/// Two check digits, modulus 11.
pub fn br_cpf(c: &[u8]) -> bool {
    let d = digits(c);
    let check = |n: usize| {
        let sum: u32 = d[..n].iter().enumerate().map(|(i, &x)| u32::from(x) * (n + 1 - i) as u32).sum();
        (sum * 10 % 11 % 10) == u32::from(d[n])
    };
    d.iter().any(|&x| x != d[0]) && check(9) && check(10)
}

/// Verhoeff; never begins with 0 or 1.
pub fn in_aadhaar(c: &[u8]) -> bool {
    let d = digits(c);
    d[0] > 1 && verhoeff(&d)
}

/// The fourth letter names the holder's kind.
pub fn in_pan(c: &[u8]) -> bool {
    b"PCHFATBLJG".contains(&c[3])
}

/// Birth date and ISO 7064 MOD 11-2 (GB 11643).
pub fn cn_resident_id(c: &[u8]) -> bool {
    let d = digits(&c[..17]);
    let sum = weighted(&d, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    let year = number(&d[6..10]);
    (1900..=2100).contains(&year)
        && day_exists(number(&d[10..12]), number(&d[12..14]))
        && c[17] == b"10X98765432"[sum as usize % 11]
}

/// Luhn over the whole, which is not all zeros.
pub fn luhn_number(c: &[u8]) -> bool {
    let d = digits(c);
    number(&d) != 0 && luhn(&d)
}

/// Weighted sum divisible by 11.
pub fn au_tfn(c: &[u8]) -> bool {
    weighted(&digits(c), &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11)
}

/// Birth date with the century in the month, and modulus 10.
pub fn pl_pesel(c: &[u8]) -> bool {
    let d = digits(c);
    let sum = weighted(&d[..10], &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]);
    day_exists(number(&d[2..4]) % 20, number(&d[4..6])) && (10 - sum % 10) % 10 == u32::from(d[10])
}

/// Birth date (day + 60 for coordination numbers) and Luhn over the last ten.
pub fn se_personnummer(c: &[u8]) -> bool {
    let d = digits(c);
    let short = &d[d.len() - 10..];
    day_exists(number(&short[2..4]), number(&short[4..6]) % 60) && luhn(short)
}

/// Birth date and check character, modulus 31.
pub fn fi_hetu(c: &[u8]) -> bool {
    let century_is_letter = c.len() == 11;
    if century_is_letter && !b"ABCDEFUVWXY".contains(&c[6]) {
        return false;
    }
    let d = digits(&c[..c.len() - 1]);
    d.len() == 9
        && day_exists(number(&d[2..4]), number(&d[..2]))
        && c.last() == Some(&b"0123456789ABCDEFHJKLMNPRSTUVWXY"[usize::from(tail(number(&d), 31))])
}

/// Birth date and two check digits, modulus 11.
pub fn no_fodselsnummer(c: &[u8]) -> bool {
    let d = digits(c);
    let first = (11 - weighted(&d[..9], &[3, 7, 6, 1, 8, 9, 4, 5, 2]) % 11) % 11;
    let second = (11 - weighted(&d[..10], &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11) % 11;
    day_exists(number(&d[2..4]), number(&d[..2]) % 40) && first == u32::from(d[9]) && second == u32::from(d[10])
}

/// Country prefix 756 and EAN-13.
pub fn ch_ahv(c: &[u8]) -> bool {
    let d = digits(c);
    let sum = weighted(&d[..12], &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3]);
    c.starts_with(b"756") && (10 - sum % 10) % 10 == u32::from(d[12])
}

/// Birth date and modulus 11.
pub fn kr_rrn(c: &[u8]) -> bool {
    let d = digits(c);
    let sum = weighted(&d[..12], &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]);
    day_exists(number(&d[2..4]), number(&d[4..6])) && d[6] <= 8 && (11 - sum % 11) % 10 == u32::from(d[12])
}

/// Birth date, sex, and modulus 10 over base-37 characters (Ñ between N and O never occurs in ASCII).
pub fn mx_curp(c: &[u8]) -> bool {
    let value = |b: u8| match b {
        b'0'..=b'9' => u32::from(b - b'0'),
        b'A'..=b'N' => u32::from(b - b'A') + 10,
        _ => u32::from(b - b'A') + 11,
    };
    let sum: u32 = c[..17].iter().enumerate().map(|(i, &b)| value(b) * (18 - i as u32)).sum();
    let d = digits(&c[4..10]);
    b"HMX".contains(&c[10]) && day_exists(number(&d[2..4]), number(&d[4..6])) && (10 - sum % 10) % 10 == value(c[17])
}

/// Two check digits.
pub fn tr_kimlik(c: &[u8]) -> bool {
    let d = digits(c);
    let d: [i64; 11] = std::array::from_fn(|i| i64::from(d[i]));
    let odd = d[0] + d[2] + d[4] + d[6] + d[8];
    let even = d[1] + d[3] + d[5] + d[7];
    d[0] != 0 && (odd * 7 - even).rem_euclid(10) == d[9] && (odd + even + d[9]) % 10 == d[10]
}

/// Birth date, citizenship digit and Luhn.
pub fn za_id(c: &[u8]) -> bool {
    let d = digits(c);
    day_exists(number(&d[2..4]), number(&d[4..6])) && d[10] <= 2 && luhn(&d)
}

/// Modulus 11.
pub fn jp_my_number(c: &[u8]) -> bool {
    let d = digits(c);
    let rest = weighted(&d[..11], &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
    (if rest <= 1 { 0 } else { 11 - rest }) == u32::from(d[11])
}

/// Modulus 11, K for ten.
pub fn cl_rut(c: &[u8]) -> bool {
    let Some((&check, body)) = c.split_last() else { return false };
    if !body.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum: u32 =
        digits(body).iter().rev().zip([2, 3, 4, 5, 6, 7].iter().cycle()).map(|(&d, &w)| u32::from(d) * w).sum();
    check == b"0K987654321"[sum as usize % 11]
}

/// Weighted sum modulo 101.
pub fn ru_snils(c: &[u8]) -> bool {
    let d = digits(c);
    let sum = weighted(&d[..9], &[9, 8, 7, 6, 5, 4, 3, 2, 1]);
    sum != 0 && u64::from(sum % 101 % 100) == number(&d[9..])
}

/// ABA routing number: weighted sum divisible by 10.
pub fn aba_routing(c: &[u8]) -> bool {
    let d = digits(c);
    d.len() == 9 && number(&d) != 0 && weighted(&d, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10)
}
