//! Words and keys of the held-out split. Written after the detectors they score were finished; whoever changes a detector
//! because of one of them moves it to the tuned words first.

use super::Cues;
use crate::case::Family;

/// Words of people and keys of programs for a kind.
pub fn cues(family: Family, kind: &str) -> Cues {
    let (words, keys): (&[&str], &[&str]) = match kind {
        "connection_string" => {
            (&["point the worker at", "the cache lives on", "Datenbank:"], &["BROKER", "mongo_uri", "endpoint"])
        }
        "password" => (
            &[
                "unlock it with the password",
                "das neue WLAN-Kennwort",
                "mot de passe provisoire",
                "nueva contraseña",
                "the sign-in pwd",
            ],
            &["LDAP_PASSWORD", "keystorePassword", "passphrase", "MYSQL_ROOT_PASSWORD", "rpc_pwd"],
        ),
        "secret" => (
            &["the shared secret", "the bearer token", "my secret key", "the private API key"],
            &["APP_SECRET", "refresh_token", "encryptionKey", "hmac_key", "apikey", "TWITTER_CONSUMER_SECRET"],
        ),
        "payment_card" => {
            (&["please charge", "numéro de carte", "I paid with", "the corporate Amex"], &["card", "account_no", "ccn"])
        }
        "iban" => (&["wire it to", "Kontoverbindung", "beneficiary", "cuenta"], &["IBAN", "payee", "ibanNumber"]),
        "us_ssn" => (&["her SSN is", "applicant's social security no."], &["ssn_last", "employee_ssn"]),
        "uk_nino" => (&["NINO on the payslip", "my NI"], &["niNumber", "insurance_number"]),
        "uk_nhs" => (&["patient NHS no.", "my NHS"], &["nhs_id", "NHS"]),
        "de_tax_id" => (&["Steuer-IdNr.", "steuerliche Identifikationsnummer"], &["steuerid", "tax_id"]),
        "fr_nir" => (&["numéro de sécu", "immatriculation"], &["num_secu", "ssn_fr"]),
        "es_dni" => (&["con DNI", "identidad"], &["nif_cliente", "dniNumero"]),
        "it_codice_fiscale" => (&["CF", "fiscale"], &["cod_fisc", "fiscalCode"]),
        "nl_bsn" => (&["bsn nr", "sofinummer"], &["bsnNummer", "client_bsn"]),
        "be_national_number" => (&["INSZ", "numéro national"], &["national_number", "insz_nr"]),
        "br_cpf" => (&["CPF do cliente", "cadastro"], &["cpfCliente", "documento"]),
        "in_aadhaar" => (&["Aadhaar card", "my Aadhar"], &["aadhaar_no", "aadhar"]),
        "in_pan" => (&["PAN of the firm", "permanent account number"], &["panNo", "pan_card"]),
        "cn_resident_id" => (&["证件号码", "ID card"], &["identity", "cert_no"]),
        "ca_sin" => (&["SIN number", "her social insurance no."], &["socialInsuranceNumber", "sin_no"]),
        "au_tfn" => (&["tax file number (TFN)", "quote TFN"], &["tfn_number", "tfnNo"]),
        "pl_pesel" => (&["nr PESEL", "pesel:"], &["numer_pesel", "peselNumber"]),
        "se_personnummer" => (&["personnummer nr", "pnr"], &["person_nummer", "personnr"]),
        "fi_hetu" => (&["henkilötunnukseni", "tunnus"], &["hetu_id", "ssn_fi"]),
        "no_fodselsnummer" => (&["fødselsnr", "mitt nummer"], &["fnr_id", "birth_no"]),
        "ch_ahv" => (&["AHV-Nr.", "Sozialversicherungsnummer"], &["ahv_nummer", "social_no"]),
        "kr_rrn" => (&["주민등록", "registration no"], &["rrn_no", "juminNo"]),
        "tr_kimlik" => (&["T.C. kimlik", "TC kimlik numarası"], &["tcKimlikNo", "kimlik"]),
        "za_id" => (&["South African ID number", "identity number"], &["rsa_id", "identityNumber"]),
        "jp_my_number" => (&["マイナンバーカード", "My Number"], &["myNumber", "my_number_card"]),
        "cl_rut" => (&["RUT empresa", "rut nº"], &["rutCliente", "tax_rut"]),
        "ru_snils" => (&["страховой номер", "СНИЛС №"], &["snils_no", "pfr"]),
        "mx_curp" => (&["la CURP", "registro"], &["curp_id", "claveUnica"]),
        "bank_account" => (&["routing no", "bank routing number"], &["routing_no", "aba_routing"]),
        "email" => (&["cc", "reply to"], &["contact_email", "to"]),
        "phone" => (
            &["give me a ring on", "cell", "Tel.:", "téléphone", "teléfono móvil"],
            &["contact_phone", "telephone", "cellphone"],
        ),
        "person_name" => (
            &["Ms.", "me llamo", "mi chiamo", "best regards,", "this is", "assigned to"],
            &["display_name", "patient_name", "contact", "signatory"],
        ),
        "postal_address" => {
            (&["my home is", "send the parcel to", "domicilio:"], &["street_address", "billingAddress", "residence"])
        }
        "birth_date" => (
            &["date of birth:", "Geburtsdatum", "nació el", "birthdate"],
            &["birthDate", "date_of_birth", "geburtsdatum"],
        ),
        "ip_address" => (&["ssh to", "traffic from"], &["source_ip", "addr"]),
        "mac_address" => (&["hardware address", "the NIC has"], &["mac_address", "wlan"]),
        "passport" => (&["passport no", "travelling on passport", "Passeport n°"], &["passport_no", "travel_passport"]),
        "driver_licence" => (
            &[
                "provisional driving licence",
                "Führerschein-Nr.",
                "permis de conduire n°",
                "her driver's license number is",
            ],
            &["driving_license_number", "dlNumber", "driverLicenceNo"],
        ),
        "health" => {
            (&["a history of", "is being treated for", "Diagnose:", "my mother has"], &["condition", "diagnosis_text"])
        }
        _ if family == Family::Secret => {
            (&["here is the key:", "use this token", "credentials"], &["auth", "SERVICE_TOKEN", "secretKey", "value"])
        }
        _ => (&["number"], &["value"]),
    };
    Cues { words, keys }
}
