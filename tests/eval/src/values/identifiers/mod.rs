//! Numbers that somebody issued, with check digits computed.

mod numbers;

use super::{Kind, kind};
use crate::case::Family;
use crate::random::{DIGITS, UPPER};
use numbers::*;

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
            |r| grouped(r, eleven, &[9]),
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
