//! Numbers that somebody issued, with check digits computed.

use super::{Kind, kind};
use crate::case::Family;
use crate::random::{DIGITS, Random, UPPER};

type Words = &'static [&'static str];

pub fn kinds() -> Vec<Kind> {
    let k = |name, make, words: Words, keys: Words, held: Words, held_keys: Words| {
        kind(Family::Identifier, name, make, (words, keys), (held, held_keys))
    };
    vec![
        k(
            "payment_card",
            card,
            &["my card", "the credit card", "the number"],
            &["card_number", "pan", "n"],
            &["bill it to", "meine Kreditkarte", "the Visa"],
            &["cc", "paymentCard", "value"],
        ),
        k(
            "iban",
            iban,
            &["my IBAN", "the account", "transfer to"],
            &["iban", "account"],
            &["mon compte", "die Bankverbindung", "pay into"],
            &["creditor", "bankAccount"],
        ),
        k(
            "us_ssn",
            |r| format!("{:03}-{:02}-{:04}", r.range(1, 665), r.range(1, 99), r.range(1, 9999)),
            &["my SSN", "social security number"],
            &["ssn"],
            &["taxpayer", "the social"],
            &["SSN", "social"],
        ),
        k(
            "uk_nino",
            |r| {
                let head = format!("{}{}", r.text(b"ABCEGHJKLMNOPRSTWXY", 1), r.text(b"ABCEHJKLMPRSWXYZ", 1));
                let d = r.text(DIGITS, 6);
                if r.one_in(2) {
                    format!("{head} {} {} {} {}", &d[..2], &d[2..4], &d[4..], r.text(b"ABCD", 1))
                } else {
                    format!("{head}{d}{}", r.text(b"ABCD", 1))
                }
            },
            &["my national insurance number", "NINO"],
            &["nino", "ni_number"],
            &["NI number", "National Insurance no."],
            &["national_insurance", "NINO"],
        ),
        k(
            "uk_nhs",
            |r| grouped(r, nhs, &[3, 3, 4]),
            &["NHS number", "my NHS no"],
            &["nhs_number"],
            &["the NHS one", "NHS ID"],
            &["nhsNumber", "nhs"],
        ),
        k(
            "de_tax_id",
            |r| grouped(r, de_tax, &[2, 3, 3, 3]),
            &["meine Steuer-ID", "Steueridentifikationsnummer"],
            &["steuer_id", "idnr"],
            &["Steuernummer", "IdNr.", "tax ID"],
            &["steuerId", "tin"],
        ),
        k(
            "fr_nir",
            fr_nir,
            &["mon numéro de sécurité sociale", "NIR"],
            &["nir"],
            &["n° sécu", "l'assurée"],
            &["secu", "numero_ss"],
        ),
        k("es_dni", es_dni, &["mi DNI", "NIF"], &["dni"], &["el documento", "NIE o DNI"], &["nif", "documento"]),
        k(
            "it_codice_fiscale",
            it_cf,
            &["il mio codice fiscale"],
            &["codice_fiscale", "cf"],
            &["C.F.", "contribuente"],
            &["codiceFiscale", "tax"],
        ),
        k(
            "nl_bsn",
            |r| grouped(r, |r| eleven(r), &[9]),
            &["mijn BSN", "burgerservicenummer"],
            &["bsn"],
            &["BSN-nummer", "het BSN van de patiënt"],
            &["BSN", "burgerServiceNummer"],
        ),
        k(
            "be_national_number",
            be,
            &["rijksregisternummer", "registre national"],
            &["niss", "insz"],
            &["le NISS", "rijksregister"],
            &["nrn", "rijksregisternummer"],
        ),
        k(
            "br_cpf",
            |r| {
                let d = cpf(r);
                if r.one_in(2) { format!("{}.{}.{}-{}", &d[..3], &d[3..6], &d[6..9], &d[9..]) } else { d }
            },
            &["meu CPF", "CPF"],
            &["cpf"],
            &["CPF do titular", "o CPF nº"],
            &["CPF", "cpf_cliente"],
        ),
        k(
            "in_aadhaar",
            |r| grouped(r, aadhaar, &[4, 4, 4]),
            &["my Aadhaar", "Aadhaar number"],
            &["aadhaar"],
            &["Aadhar no.", "UIDAI"],
            &["uid", "aadhaarNumber"],
        ),
        k(
            "in_pan",
            |r| format!("{}{}{}{}", r.text(UPPER, 3), r.text(b"PCHF", 1), r.text(UPPER, 1), r.fill("####@")),
            &["my PAN", "PAN card"],
            &["pan"],
            &["PAN no", "income tax PAN"],
            &["pan_number", "PAN"],
        ),
        k(
            "cn_resident_id",
            cn,
            &["身份证号", "resident ID"],
            &["id_card"],
            &["居民身份证", "national ID"],
            &["sfz", "idNo"],
        ),
        k(
            "ca_sin",
            |r| {
                grouped(
                    r,
                    |r| {
                        let first = r.range(1, 7).to_string();
                        luhn_number(r, first, 9)
                    },
                    &[3, 3, 3],
                )
            },
            &["my SIN", "social insurance number"],
            &["sin"],
            &["the SIN on file", "NAS"],
            &["sin_number", "SIN"],
        ),
        k(
            "au_tfn",
            |r| {
                grouped(r, |r| search(r, 9, |d| weigh(d, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11)), &[3, 3, 3])
            },
            &["my TFN", "tax file number"],
            &["tfn"],
            &["TFN on record", "the tax file no"],
            &["taxFileNumber", "TFN"],
        ),
        k(
            "pl_pesel",
            |r| {
                dated(r, |y, m, d, r| {
                    let b = digits(&format!("{y:02}{m:02}{d:02}{}", r.text(DIGITS, 4)));
                    let c = (10 - weigh(&b, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10) % 10;
                    Some(join(&b) + &c.to_string())
                })
            },
            &["mój PESEL", "PESEL"],
            &["pesel"],
            &["numer PESEL", "PESEL pacjenta"],
            &["PESEL", "pesel_nr"],
        ),
        k(
            "se_personnummer",
            |r| {
                dated(r, |y, m, d, r| {
                    let s = format!("{y:02}{m:02}{d:02}{}", r.text(DIGITS, 3));
                    Some(format!("{}-{}{}", &s[..6], &s[6..], luhn_check(&digits(&s))))
                })
            },
            &["mitt personnummer", "personnummer"],
            &["personnummer"],
            &["personnr", "hennes personnummer"],
            &["pnr", "personnummer"],
        ),
        k(
            "fi_hetu",
            |r| {
                dated(r, |y, m, d, r| {
                    let n = r.range(2, 899);
                    let v = (d * 10_000_000 + m * 100_000 + y * 1000 + n) % 31;
                    Some(format!(
                        "{d:02}{m:02}{y:02}-{n:03}{}",
                        &"0123456789ABCDEFHJKLMNPRSTUVWXY"[v as usize..=v as usize]
                    ))
                })
            },
            &["henkilötunnus", "hetu"],
            &["hetu"],
            &["my Finnish ID", "HETU:"],
            &["henkilotunnus", "personal_id"],
        ),
        k(
            "no_fodselsnummer",
            |r| {
                dated(r, |y, m, d, r| {
                    let mut b = digits(&format!("{d:02}{m:02}{y:02}{}", r.text(DIGITS, 3)));
                    for w in [&[3, 7, 6, 1, 8, 9, 4, 5, 2][..], &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]] {
                        let c = (11 - weigh(&b, w) % 11) % 11;
                        if c == 10 {
                            return None;
                        }
                        b.push(c);
                    }
                    Some(join(&b))
                })
            },
            &["fødselsnummer"],
            &["fnr"],
            &["personnummeret mitt", "fnr."],
            &["fodselsnummer", "ssn_no"],
        ),
        k(
            "ch_ahv",
            |r| {
                let b = digits(&format!("756{}", r.text(DIGITS, 9)));
                let c = (10 - weigh(&b, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3]) % 10) % 10;
                let s = join(&b) + &c.to_string();
                format!("{}.{}.{}.{}", &s[..3], &s[3..7], &s[7..11], &s[11..])
            },
            &["AHV-Nummer", "numéro AVS"],
            &["ahv"],
            &["the Swiss number", "Versichertennummer"],
            &["avs", "ahvNr"],
        ),
        k(
            "kr_rrn",
            |r| {
                dated(r, |y, m, d, r| {
                    let b = digits(&format!("{y:02}{m:02}{d:02}{}{}", r.range(1, 4), r.text(DIGITS, 5)));
                    let c = (11 - weigh(&b, &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]) % 11) % 10;
                    let s = join(&b) + &c.to_string();
                    Some(format!("{}-{}", &s[..6], &s[6..]))
                })
            },
            &["주민등록번호", "RRN"],
            &["rrn"],
            &["주민번호", "Korean ID"],
            &["jumin", "resident_no"],
        ),
        k(
            "tr_kimlik",
            |r| {
                let mut d = r.digits(9);
                d[0] = d[0] % 9 + 1;
                let (o, e) = (d[0] + d[2] + d[4] + d[6] + d[8], d[1] + d[3] + d[5] + d[7]);
                d.push((o * 7 + 90 - e) % 10);
                let s: u32 = d.iter().sum();
                d.push(s % 10);
                join(&d)
            },
            &["TC kimlik no", "kimlik"],
            &["tckn"],
            &["TC no", "kimlik numaram"],
            &["tc", "kimlik_no"],
        ),
        k(
            "za_id",
            |r| {
                dated(r, |y, m, d, r| {
                    let s = format!("{y:02}{m:02}{d:02}{}{}8", r.text(DIGITS, 4), r.range(0, 1));
                    let c = luhn_check(&digits(&s));
                    Some(s + &c.to_string())
                })
            },
            &["my SA ID", "ID number"],
            &["id_number", "identity_number"],
            &["RSA ID", "identity no"],
            &["sa_id", "idNumber"],
        ),
        k(
            "jp_my_number",
            |r| {
                let b = r.digits(11);
                let m = weigh(&b, &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
                join(&b) + &(if m <= 1 { 0 } else { 11 - m }).to_string()
            },
            &["マイナンバー", "my number (Japan)"],
            &["my_number"],
            &["個人番号", "individual number"],
            &["mynumber", "individual_number"],
        ),
        k(
            "cl_rut",
            |r| {
                let n = r.range(5_000_000, 25_000_000).to_string();
                let s: u32 = digits(&n).iter().rev().zip([2, 3, 4, 5, 6, 7].iter().cycle()).map(|(d, w)| d * w).sum();
                format!(
                    "{}.{}.{}-{}",
                    &n[..n.len() - 6],
                    &n[n.len() - 6..n.len() - 3],
                    &n[n.len() - 3..],
                    ["0", "K", "9", "8", "7", "6", "5", "4", "3", "2", "1"][s as usize % 11]
                )
            },
            &["mi RUT", "RUT"],
            &["rut"],
            &["RUN del paciente", "el rol único"],
            &["run", "rut_cliente"],
        ),
        k(
            "ru_snils",
            |r| {
                let d = r.digits(9);
                let s = weigh(&d, &[9, 8, 7, 6, 5, 4, 3, 2, 1]) % 101 % 100;
                let n = join(&d);
                format!("{}-{}-{} {s:02}", &n[..3], &n[3..6], &n[6..])
            },
            &["СНИЛС", "SNILS"],
            &["snils"],
            &["мой СНИЛС", "pension number"],
            &["SNILS", "insurance_no"],
        ),
        k("mx_curp", mx_curp, &["mi CURP"], &["curp"], &["CURP del alumno", "clave única"], &["CURP", "clave"]),
        k(
            "bank_account",
            |r| search(r, 9, |d| d[0] == 0 && d[1] > 0 && weigh(d, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10)),
            &["routing number", "ABA"],
            &["routing_number"],
            &["the routing no.", "ABA routing"],
            &["routingNumber", "aba"],
        ),
    ]
}

fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

fn join(digits: &[u32]) -> String {
    digits.iter().map(u32::to_string).collect()
}

fn weigh(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(d, w)| d * w).sum()
}

/// The digit that makes body and digit satisfy Luhn.
fn luhn_check(body: &[u32]) -> u32 {
    let sum: u32 =
        body.iter().rev().enumerate().map(|(i, d)| if i % 2 == 0 { d * 2 / 10 + d * 2 % 10 } else { *d }).sum();
    (10 - sum % 10) % 10
}

fn luhn_number(r: &mut Random, prefix: String, length: usize) -> String {
    let body = format!("{prefix}{}", r.text(DIGITS, length - 1 - prefix.len()));
    let check = luhn_check(&digits(&body));
    body + &check.to_string()
}

/// Random digits until they satisfy a rule.
fn search(r: &mut Random, length: usize, holds: fn(&[u32]) -> bool) -> String {
    loop {
        let d = r.digits(length);
        if d[0] + d[1] > 0 && holds(&d) {
            return join(&d);
        }
    }
}

/// Random dates until `make` has a number for one.
fn dated(r: &mut Random, make: impl Fn(u64, u64, u64, &mut Random) -> Option<String>) -> String {
    loop {
        let (y, m, d) = (r.range(35, 99), r.range(1, 12), r.range(1, 28));
        if let Some(number) = make(y, m, d, r) {
            return number;
        }
    }
}

/// Compact, or in groups with blanks between.
fn grouped(r: &mut Random, make: impl Fn(&mut Random) -> String, groups: &[usize]) -> String {
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

fn card(r: &mut Random) -> String {
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

fn iban(r: &mut Random) -> String {
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

fn nhs(r: &mut Random) -> String {
    search(r, 10, |d| (weigh(d, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) + d[9]).is_multiple_of(11))
}

fn eleven(r: &mut Random) -> String {
    search(r, 9, |d| weigh(d, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11 == d[8])
}

fn de_tax(r: &mut Random) -> String {
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

fn fr_nir(r: &mut Random) -> String {
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

fn es_dni(r: &mut Random) -> String {
    let n = r.range(10_000_000, 99_999_999);
    format!("{n}{}{}", r.pick(&["", "-"]), &"TRWAGMYFPDXBNJZSQVHLCKE"[(n % 23) as usize..=(n % 23) as usize])
}

fn it_cf(r: &mut Random) -> String {
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

fn be(r: &mut Random) -> String {
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

fn cpf(r: &mut Random) -> String {
    let mut d = r.digits(9);
    for n in [10u32, 11] {
        let sum: u32 = d.iter().zip((2..=n).rev()).map(|(d, w)| d * w).sum();
        d.push(sum * 10 % 11 % 10);
    }
    join(&d)
}

fn aadhaar(r: &mut Random) -> String {
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

fn cn(r: &mut Random) -> String {
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

fn mx_curp(r: &mut Random) -> String {
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
