//! Which words can tell what comes next: the cheap question, asked of every word.

/// Longest telling word, in bytes.
pub const LONGEST: usize = 32;

/// Every telling word, lowercase, and every ending that tells: of longer ones the last letters decide.
const TELLING: &[&str] = &[
    // Secrets.
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "kennwort",
    "contraseña",
    "senha",
    "pwd",
    "passcode",
    "pass",
    "psw",
    "pin",
    "passe",
    "parola",
    "wachtwoord",
    "lösenord",
    "hasło",
    "heslo",
    "jelszó",
    "salasana",
    "adgangskode",
    "şifre",
    "пароль",
    "secret",
    "token",
    "key",
    "credential",
    "credentials",
    "bearer",
    "authorization",
    "cred",
    "creds",
    "basic",
    // Births.
    "dob",
    "born",
    "birthday",
    "birthdate",
    "birth",
    "geboren",
    "geburtsdatum",
    "nacimiento",
    "naissance",
    "nascita",
    "dateofbirth",
    "nascimento",
    "geb",
    "nacido",
    "nacida",
    "nato",
    "nata",
    "geboortedatum",
    "née",
    "né",
    // Names.
    "mrs",
    "herr",
    "frau",
    "mme",
    "sra",
    "prof",
    "name",
    "patient",
    "fullname",
    "firstname",
    "lastname",
    "surname",
    "dear",
    "sincerely",
    "heiße",
    "heisse",
    "appelle",
    "llamo",
    "chiamo",
    "called",
    "signed",
    "regards",
    "iam",
    "am",
    "nombre",
    "nom",
    "vorname",
    "nachname",
    "nome",
    "naam",
    "namn",
    "navn",
    "cognome",
    "apellido",
    "apellidos",
    "named",
    "cardholder",
    "accountholder",
    "recipient",
    "employee",
    "beneficiary",
    "passenger",
    "professor",
    "monsieur",
    "madame",
    "signor",
    "signora",
    "senhor",
    "senhora",
    "señor",
    "señora",
    "mevrouw",
    "meneer",
    "miss",
    // Documents, accounts, health.
    "passport",
    "reisepass",
    "passeport",
    "pasaporte",
    "passportno",
    "passportnumber",
    "licence",
    "license",
    "driverlicense",
    "driverslicense",
    "driverlicence",
    "driverslicence",
    "drivinglicense",
    "drivinglicence",
    "führerschein",
    "führerscheinnummer",
    "rijbewijs",
    "rijbewijsnummer",
    "permisconduire",
    "dln",
    "conduire",
    "conducir",
    "guida",
    "motorista",
    "account",
    "acct",
    "konto",
    "kontonummer",
    "routing",
    "routingnumber",
    "aba",
    "sort",
    "mrn",
    "diagnosed",
    "diagnosis",
    "diagnoses",
    "icd",
    "diabetes",
    "hypertension",
    "asthma",
    "depression",
    "hiv",
    "epilepsy",
    "cancer",
    "carcinoma",
    "leukemia",
    "leukaemia",
    "hepatitis",
    "schizophrenia",
    "bipolar",
    "parkinson",
    "alzheimer",
    "dementia",
    "tuberculosis",
    "sclerosis",
    "arthritis",
    "anorexia",
    "bulimia",
    "autism",
    "adhd",
    "ptsd",
    "chlamydia",
    "syphilis",
    "melanoma",
    "lymphoma",
    "pregnant",
    "miscarriage",
    "stroke",
    "angina",
    // Streets.
    "box",
    "straße",
    "strasse",
    "str",
    "weg",
    "platz",
    "allee",
    "gasse",
    "damm",
    "ufer",
    "straat",
    "laan",
    "gatan",
    "gracht",
    "kade",
    "plein",
    "ring",
    "calle",
    "via",
    "rua",
    "rue",
    "avenida",
    "viale",
    "piazza",
    "plaza",
    "paseo",
];

/// The last three letters of words, as bits: most words of a text are told from all of them by these. Letters count by their lowest
/// five bits, whatever their case.
pub struct Endings([u64; 512]);

impl Endings {
    /// Of these words.
    pub const fn of(words: &[&str]) -> Self {
        let mut bits = [0u64; 512];
        let mut i = 0;
        while i < words.len() {
            let index = last(words[i].as_bytes());
            bits[index / 64] |= 1 << (index % 64);
            i += 1;
        }
        Self(bits)
    }

    /// Whether `word` may be one of them.
    #[inline]
    pub fn may_have(&self, word: &[u8]) -> bool {
        let index = last(word);
        self.0[index / 64] >> (index % 64) & 1 == 1
    }
}

static ENDINGS: Endings = Endings::of(TELLING);

const fn last(word: &[u8]) -> usize {
    let n = word.len();
    let mut index = 0;
    let mut k = 0;
    while k < 3 && k < n {
        index |= ((word[n - 1 - k] & 31) as usize) << (5 * k);
        k += 1;
    }
    index
}

/// Whether [`TELLING`] may hold `word`. Words of one or two letters always may.
#[inline]
pub fn may_tell(word: &[u8]) -> bool {
    if word.len() < 3 {
        return matches!(
            word,
            [b'M' | b'm', b'r' | b's']
                | [b'D' | b'd', b'r' | b'l']
                | [b'D', b'L']
                | [b'p', b'w']
                | [b'a', b'm']
                | [b'B' | b'b']
        );
    }
    ENDINGS.may_have(word)
}
