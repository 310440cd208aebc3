//! Names, addresses, telephone numbers, dates of birth, machines and documents.

use super::{Kind, kind};
use crate::case::Family;
use crate::random::{DIGITS, LOWER, Random};

type Words = &'static [&'static str];

const FIRST: &[&str] = &[
    "Ann", "Bob", "Chloé", "Dmitri", "Elif", "Fatima", "Giulia", "Hans", "Ingrid", "João", "Kenji", "Lena", "Marta",
    "Nils", "Olga", "Pedro", "Priya", "Sofia", "Tom", "Yusuf",
];
const LAST: &[&str] = &[
    "Lee",
    "Müller",
    "García",
    "Rossi",
    "Novak",
    "Smith",
    "Okafor",
    "Johansson",
    "Dupont",
    "Silva",
    "Kowalski",
    "Nguyen",
    "O'Brien",
    "van Dijk",
    "Yılmaz",
    "Sato",
    "Fernández",
    "Weber",
    "Haddad",
    "Lindqvist",
];

pub fn kinds() -> Vec<Kind> {
    let k = |name, make, words: Words, keys: Words, held: Words, held_keys: Words| {
        kind(Family::Personal, name, make, (words, keys), (held, held_keys))
    };
    vec![
        k(
            "email",
            email,
            &["write to", "my address is"],
            &["email", "user"],
            &["ping", "Kontakt"],
            &["mail", "recipient"],
        ),
        k(
            "phone",
            phone,
            &["call me at", "my phone is", "Telefon", "mobile"],
            &["phone", "tel"],
            &["my number is", "reach her on", "Handynummer", "numéro de téléphone", "WhatsApp"],
            &["mobile_number", "phoneNumber", "fax"],
        ),
        k(
            "person_name",
            |r| format!("{} {}", r.pick(FIRST), r.pick(LAST)),
            &["my name is", "the patient is", "Dear Mr.", "I am"],
            &["name", "full_name"],
            &["the customer is called", "je m'appelle", "ich heiße", "Frau", "signed by"],
            &["customer_name", "fullName", "author"],
        ),
        k(
            "postal_address",
            address,
            &["I live at", "ship it to", "Adresse:"],
            &["address", "street"],
            &["deliver to", "we moved to", "wohnhaft"],
            &["shipping_address", "addr", "line1"],
        ),
        k(
            "birth_date",
            date,
            &["born on", "my date of birth is", "geboren am"],
            &["dob", "birth_date"],
            &["her birthday is", "née le", "fecha de nacimiento", "D.O.B."],
            &["dateOfBirth", "birthday", "born"],
        ),
        k(
            "ip_address",
            ip,
            &["the server is", "from", "connect to"],
            &["ip", "client_ip"],
            &["blocked", "peer"],
            &["remote_addr", "host"],
        ),
        k(
            "mac_address",
            |r| {
                let s = r.pick(&[":", "-"]);
                (0..6).map(|_| r.fill("%%")).collect::<Vec<_>>().join(s)
            },
            &["the adapter is", "MAC"],
            &["mac"],
            &["device", "bssid"],
            &["hwaddr", "ethernet"],
        ),
        k(
            "passport",
            |r| format!("{}{}", r.pick(&["C", "X", "L", "AB"]), r.text(DIGITS, 7)),
            &["my passport number is", "passport no."],
            &["passport", "passport_number"],
            &["Reisepass", "passport:", "pasaporte nº"],
            &["passportNo", "passport_id"],
        ),
        k(
            "driver_licence",
            |r| r.fill("@#######"),
            &["my driver's license is", "driving licence no."],
            &["driver_license", "drivers_license"],
            &["driver license number", "DL number", "driver's licence", "license (driving)"],
            &["driverLicense", "driving_licence", "drivers_licence_no"],
        ),
        k(
            "health",
            |r| {
                r.pick(&[
                    "type 2 diabetes",
                    "hypertension",
                    "asthma",
                    "major depression",
                    "HIV",
                    "epilepsy",
                    "breast cancer",
                ])
                .to_owned()
            },
            &["she was diagnosed with", "the patient has"],
            &["diagnosis"],
            &["he suffers from", "treated for"],
            &["diagnoses", "medical_condition"],
        ),
    ]
}

fn email(r: &mut Random) -> String {
    let user = match r.range(0, 2) {
        0 => format!("{}.{}", r.text(LOWER, 5), r.text(LOWER, 7)),
        1 => format!("{}{}", r.text(LOWER, 4), r.range(1, 99)),
        _ => format!("{}+{}", r.text(LOWER, 6), r.text(LOWER, 3)),
    };
    format!("{user}@{}.{}", r.text(LOWER, 6), r.pick(&["com", "org", "de", "co.uk", "io", "example"]))
}

fn phone(r: &mut Random) -> String {
    let form = r.pick(&[
        "+1 (2#4) 5##-####",
        "(3#2) 6##-####",
        "2#5-4##-####",
        "+49 30 #######",
        "+44 20 7### ####",
        "+33 6 ## ## ## ##",
        "0151 #######",
        "+34 6## ### ###",
        "06 ## ## ## ##",
        "+5511 9####-####",
        "+81-3-####-####",
        "030/#######",
    ]);
    r.fill(form)
}

fn address(r: &mut Random) -> String {
    let n = r.range(1, 999);
    match r.range(0, 7) {
        0 => format!("{n} {} Street", r.pick(&["Maple", "Baker", "Oak", "High", "King"])),
        1 => format!(
            "{n} {} Ave, {}, {} {}",
            r.pick(&["Fifth", "Park", "Lincoln"]),
            r.pick(&["Springfield", "Portland"]),
            r.pick(&["IL", "OR", "NY", "CA"]),
            r.text(DIGITS, 5)
        ),
        2 => format!(
            "{} {n}, {} {}",
            r.pick(&["Hauptstraße", "Goethestraße", "Lindenweg", "Marktplatz"]),
            r.text(DIGITS, 5),
            r.pick(&["Berlin", "Köln"])
        ),
        3 => format!("{n} rue {}", r.pick(&["de la Paix", "Victor Hugo", "du Moulin"])),
        4 => format!("Calle {} {n}", r.pick(&["Mayor", "Alcalá", "Serrano"])),
        5 => format!("Via {} {n}", r.pick(&["Roma", "Garibaldi", "Dante"])),
        6 => format!("{} {n}", r.pick(&["Keizersgracht", "Kerkstraat", "Stationsweg"])),
        _ => format!("P.O. Box {n}"),
    }
}

fn date(r: &mut Random) -> String {
    let (y, m, d) = (r.range(1930, 2010), r.range(1, 12), r.range(1, 28));
    let months = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    match r.range(0, 4) {
        0 => format!("{y}-{m:02}-{d:02}"),
        1 => format!("{m:02}/{d:02}/{y}"),
        2 => format!("{d:02}.{m:02}.{y}"),
        3 => format!("{d} {} {y}", months[m as usize - 1]),
        _ => format!("{} {d}, {y}", months[m as usize - 1]),
    }
}

fn ip(r: &mut Random) -> String {
    if r.one_in(4) {
        return r.fill("2001:db8:%%%:%%::%%%%");
    }
    format!(
        "{}.{}.{}.{}",
        r.pick(&["10", "192", "172", "203", "185"]),
        r.range(0, 255),
        r.range(0, 255),
        r.range(1, 254)
    )
}
