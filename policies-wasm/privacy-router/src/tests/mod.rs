use openshell_policy_sdk::prelude::*;
use openshell_policy_sdk::testing;

use crate::Router;

mod choosing;

fn router(settings: &str) -> Router {
    testing::configure(settings).expect("settings")
}

fn message(role: &str, text: &str) -> Message {
    Message { role: role.into(), text: text.into() }
}

fn backend(name: &str, clearance: Sensitivity, price: u64) -> Backend {
    Backend {
        name: name.into(),
        model: "m".into(),
        locality: Locality::Public,
        clearance,
        input_price: price,
        output_price: price,
        context: 100_000,
        features: Vec::new(),
        latency_ms: 0,
        cached_input_price: 0,
        cached_tokens: 0,
        redact: false,
    }
}

fn request(messages: Vec<Message>) -> InferenceRequest {
    InferenceRequest {
        sandbox: "s".into(),
        process: Process { executable: "/usr/bin/curl".into(), digest: String::new(), script: None },
        model: "m".into(),
        messages,
        needs: Vec::new(),
        input_tokens: 100,
        output_tokens: 100,
        expected_output_tokens: 100,
        so_far: Sensitivity::Public,
    }
}

fn name(sensitivity: Sensitivity) -> &'static str {
    crate::choose::name(sensitivity)
}

/// `kind,kind@level` of what the router with these settings makes of the messages; `@public` for nothing.
fn read(router: &Router, messages: Vec<Message>) -> String {
    let backends = [backend("home", Sensitivity::Restricted, 1)];
    let decision = router.route(&request(messages), &backends).expect("a backend is cleared");
    let mut kinds: Vec<&str> = decision.findings.iter().map(|f| f.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    format!("{}@{}", kinds.join(","), name(decision.sensitivity))
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let found = read(&router("{}"), vec![message("user", text)]);
    assert_eq!(found, expected, "in {text:?}");
}

#[test]
fn finds_names_where_people_are_spoken_of() {
    for text in [
        "my colleague Marta Kowalski will call",
        "our customer Thomas Weber complained",
        "email from Priya Nair about the invoice",
        "{\"customerName\": \"Thomas Weber\"}",
        "{\"cardholder\": \"Thomas Weber\"}",
        "ich bin Katrin Vogel und wohne hier",
        "Sehr geehrte Frau Vogel",
        "Estimada señora Fernández",
        "spoke to Henrik van Dijk yesterday",
        "approved by Sandra Novak",
        "nome: Giulia Rossi",
    ] {
        check(text, "person_name@internal");
    }
    for text in [
        "Thomas Bayes proved a theorem",
        "take Martin Street to the left",
        "the Johann Institute is our partner",
        "{\"fileName\": \"Thomas Weber\"}",
        "fn simon_says(Simon: Says)",
        "my Thomas guitar",
    ] {
        check(text, "@public");
    }
}

#[test]
fn finds_licences_and_passwords_in_other_words() {
    for (text, expected) in [
        ("my driver’s license is D1234567", "driver_licence@restricted"),
        ("Führerschein: B072RRE2I55", "driver_licence@restricted"),
        ("permis de conduire 12AB34567", "driver_licence@restricted"),
        ("patente di guida U1234567X", "driver_licence@restricted"),
        ("carnet de conducir 12345678Z1", "driver_licence@restricted"),
        ("rijbewijs 5551234567", "driver_licence@restricted"),
        ("{\"drivingLicence\":\"D1234567\"}", "driver_licence@restricted"),
        ("DL D12345678", "driver_licence@restricted"),
        ("DL 12 files", "@public"),
        ("the guida is on page 12345", "@public"),
        ("the password of the admin account is Winter2024!", "password@restricted"),
        ("password for the wifi was changed to Winter2024!", "password@restricted"),
        ("Das Passwort lautet Winter2024!", "password@restricted"),
        ("wachtwoord: Winter2024!", "password@restricted"),
        ("пароль: Winter2024!", "password@restricted"),
        ("the password of the admin account is wrong", "@public"),
        ("password to the server is unknown", "@public"),
        ("change the password to something longer than 12 characters", "@public"),
    ] {
        check(text, expected);
    }
}

#[test]
fn finds_payment_cards() {
    for text in [
        "4111111111111111",
        "my card is 4111 1111 1111 1111, exp 12/27",
        "card 4111-1111-1111-1111.",
        "5555555555554444",
        "amex 3782 822463 10005",
        "378282246310005",
        "2223003122003222",
        "6011111111111117",
        "3530111333300000",
        "{\"card\":\"4012888888881881\"}",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "order 12, 4111 1111 1111 1111 123",
        "card number 4222222222222",
        "https://shop.test/pay?pan=4111111111111111&x=1",
    ] {
        check(text, "payment_card@restricted");
    }
}

#[test]
fn what_only_looks_like_a_card_is_none() {
    for text in [
        "4111111111111112",
        "4111 1111 1111 1112",
        "1700000000000000",
        "id 41111111111111111111111",
        "0.4111111111111111",
        "550e8400-e29b-41d4-a716-446655440000",
        "41111111-1111-4111-8111-111111111111",
        "a4111111111111111f",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "2024-05-01T12:34:56.123456789Z",
        "4000 12 300 5 17 2 11",
        "let x: u64 = 18446744073709551615;",
    ] {
        check(text, "@public");
    }
}

#[test]
fn finds_bank_accounts_and_national_numbers() {
    for (text, expected) in [
        ("DE89 3704 0044 0532 0130 00", "iban@confidential"),
        ("GB82WEST12345698765432", "iban@confidential"),
        ("iban FR1420041010050500013M02606", "iban@confidential"),
        ("DE89 3704 0044 0532 0130 01", "@public"),
        ("SSN 123-45-6789", "us_ssn@restricted"),
        ("social security number: 123456789", "us_ssn@restricted"),
        ("000-12-3456", "@public"),
        ("666-12-3456", "@public"),
        ("part 123456789", "@public"),
        ("NI: AB 12 34 56 C", "uk_nino@restricted"),
        ("NHS number 943 476 5919", "uk_nhs@restricted"),
        ("Steuer-ID 86095742719", "de_tax_id@restricted"),
        ("Steuer-ID 86095742718", "@public"),
        ("DNI 12345678Z", "es_dni@restricted"),
        ("DNI 12345678A", "@public"),
        ("RSSMRA85T10A562S", "it_codice_fiscale@restricted"),
        ("BSN 111222333", "nl_bsn@restricted"),
        ("CPF 529.982.247-25", "br_cpf@restricted"),
        ("CPF 529.982.247-26", "@public"),
        ("nhsNumber=9434765919", "uk_nhs@restricted"),
        ("tax_file_number: 123456782", "au_tfn@restricted"),
        ("pesel,name\n44051401359,x", "pl_pesel@restricted"),
        ("Aadhaar 2341 2341 2346", "in_aadhaar@restricted"),
        ("11010519491231002X", "cn_resident_id@restricted"),
        ("131052-308T", "fi_hetu@restricted"),
        ("756.9217.0769.85", "ch_ahv@restricted"),
        ("PESEL 44051401359", "pl_pesel@restricted"),
        ("SIN 046 454 286", "ca_sin@restricted"),
        ("TFN 123 456 782", "au_tfn@restricted"),
        ("RUT 12.345.678-5", "cl_rut@restricted"),
        ("passport number: X1234567", "passport@restricted"),
        ("routing number 021000021", "bank_account@confidential"),
    ] {
        check(text, expected);
    }
}

#[test]
fn finds_personal_data() {
    for (text, expected) in [
        ("write to ann.lee+x@mail.example.org.", "email@internal"),
        ("git@github.com:owner/repo.git", "@public"),
        ("logo@2x.png", "@public"),
        ("npm i react@18.2.0", "@public"),
        ("+1 (212) 555-0123", "phone@confidential"),
        ("(212) 555-0123", "phone@confidential"),
        ("+49 30 901820", "phone@confidential"),
        ("phone: 030 901820", "phone@confidential"),
        ("phone: 02345.678901", "phone@confidential"),
        ("1,000,000 rows in 2024", "@public"),
        ("born on 29 February 1980", "birth_date@confidential"),
        ("dob: 1980-02-28", "birth_date@confidential"),
        ("released on 2024-02-28", "@public"),
        ("She lives at 221 Baker Street", "postal_address@confidential"),
        ("Hauptstraße 12", "postal_address@confidential"),
        ("Springfield, IL 62704", "postal_address@confidential"),
        ("My name is Ann Lee", "person_name@internal"),
        ("ich heiße Jörg Müller", "person_name@internal"),
        ("je m'appelle Élise de la Tour", "person_name@internal"),
        ("I am Hans O'Brien.", "person_name@internal"),
        ("<name>Ann van Dijk</name>", "person_name@internal"),
        ("id,full_name\n1,Ann Lee\n", "person_name@internal"),
        ("Calle Mayor 12, Madrid", "postal_address@confidential"),
        ("Via della Pace 3", "postal_address@confidential"),
        ("via Docker 24", "@public"),
        ("Keizersgracht 12", "postal_address@confidential"),
        ("she was diagnosed with type 2 diabetes", "health@confidential"),
        ("a study of diabetes in mice", "@public"),
        ("D.O.B.: 1980-02-28", "birth_date@confidential"),
        ("Dear Mr. Smith", "person_name@internal"),
        ("connect to 203.0.113.7 now", "ip_address@internal"),
        ("listening on 127.0.0.1:8080 and 0.0.0.0", "@public"),
        ("version 1.2.3.4", "@public"),
        ("2001:db8:85a3::8a2e:370:7334", "ip_address@internal"),
        ("00:1b:44:11:3a:b7", "mac_address@internal"),
        ("at 12:34:56 std::fmt::Display", "@public"),
    ] {
        check(text, expected);
    }
}

#[test]
fn finds_secrets() {
    // Written in two halves, so that this file itself holds no whole token.
    for (halves, expected) in [
        (["AKIA", "IOSFODNN7EXAMPLE"], "aws_access_key@restricted"),
        (["AIza", "SyA1234567890abcdefghijklmnopqrstuv"], "gcp_api_key@restricted"),
        (["ghp_", "16C7e42F292c6912E7710c838347Ae178B4a"], "github_token@restricted"),
        (["glpat-", "x7Yp2Qz9Lk4Mn8Rt1Vw3"], "gitlab_token@restricted"),
        (["xoxb-", "123456789012-1234567890123-AbCdEfGhIjKlMnOp"], "slack_token@restricted"),
        (["sk_live_", "4eC39HqLyjWDarjtT1zdp7dc"], "stripe_key@restricted"),
        (["sk-ant-", "api03-Zx81Yw72Xv63Wu54Vt45Us36Tr27Sq18Rp09Qo-AA"], "anthropic_key@restricted"),
        (["sk-proj-", "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5z"], "openai_key@restricted"),
        (["npm_", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"], "npm_token@restricted"),
        (
            [
                "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.",
                "eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
            ],
            "jwt@restricted",
        ),
        (["postgres://app:s3cr3t-pw", "@db.internal:5432/main"], "connection_string@restricted"),
        (["DB_PASSWORD=", "hunter2!"], "password@restricted"),
        (["password: \"correct-horse\"", ""], "password@restricted"),
        (["my password is ", "Tr0ub4dor&3"], "password@restricted"),
        (["aws_secret_access_key = ", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"], "secret@restricted"),
        (["Authorization: Bearer ", "8f3c1d9be04a7726fd1aa0c2"], "secret@restricted"),
        (["\"clientSecret\": ", "\"q8W~aZ9x1Kd03mPz7LtR5vB2\""], "secret@restricted"),
        (["110201543:", "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw7"], "telegram_token@restricted"),
        (["MTk4NjIyNDgzNDcxOTI1MjQ4.", "G8vKqQ.8fXk2Lq0a1s9dPz7RtYuIoPa3SdFgHjKl2Zx3C"], "discord_token@restricted"),
        (["0123456789abcdef0123456789abcde8-", "us14"], "mailchimp_key@restricted"),
        (["Ab18Q~", "x2Lq0a1s9dPz7RtYuIoPa3SdFgHjKl2Z_4"], "azure_client_secret@restricted"),
        (["Authorization: Basic ", "YWRtaW46aHVudGVyMg=="], "secret@restricted"),
        (["<api-key>", "q8WaZ9x1Kd03mPz7LtR5vB2</api-key>"], "secret@restricted"),
        (["<input name=\"password\" value=\"", "Tr0ub4dor&3\">"], "password@restricted"),
        (["| password | ", "Tr0ub4dor&3 |"], "password@restricted"),
        (["id,password,state\n1,", "Tr0ub4dor!,open"], "password@restricted"),
        (["my password ", "Tr0ub4dor&3x"], "password@restricted"),
        (["the password for the server: ", "Tr0ub4dor&3x"], "password@restricted"),
    ] {
        check(&halves.concat(), expected);
    }
    let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
    check(&format!("-----BEGIN PRIVATE {}\n{body}\n-----END PRIVATE KEY-----", "KEY-----"), "private_key@restricted");
}

#[test]
fn what_only_looks_like_a_secret_is_none() {
    for text in [
        "password: str = Field(...)",
        "password = os.environ[\"DB_PASSWORD\"]",
        "password=${DB_PASSWORD}",
        "<input type=\"password\" name=\"password\" id=\"pw\">",
        "def login(user, password): return check(user, password)",
        "let token = lexer.next_token();",
        "max_tokens: 4096, next_page_token: \"CAEQAA12345678901234567890\"",
        "api_key=YOUR_API_KEY",
        "api_key: \"<your api key>\"",
        "class=\"sk-circle-fade-dot sk-circle\"",
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAu1SU1LfVLPHCozMxH2Mo\n-----END PUBLIC KEY-----",
        "look for -----BEGIN RSA PRIVATE KEY----- in the diff",
        "commit 3b18e512dba79e4c8300dd08aeb37f8e728b8dad",
        "password hashing with PBKDF2-SHA256 and a salt",
        "the password for the database is rotated weekly: see below",
        "Option<Token> and Vec<Password> are types",
        "name,password,count\nfield,required,3\n",
        "the key: value pairs of a map",
        "Basic usage: see README.md",
        "see https://user@host.test/path and http://localhost:8080/a:b",
        "eyJhbGci is how tokens begin",
        "fn key(&self) -> &str { &self.key }",
        "[2024-05-01 12:00:00] INFO worker-7 took 1234567890123 ns, pid=4242, req=7f9c2ba4e88f827d616045507605853e",
        "The secret of good prose is rewriting. A token of thanks: be brief.",
    ] {
        check(text, "@public");
    }
}

#[test]
fn reads_through_disguises() {
    for text in [
        "4111\u{200b}1111\u{200b}1111\u{200b}1111",
        "４１１１ １１１１ １１１１ １１１１",
        "٤١١١١١١١١١١١١١١١",
        "4111\u{2011}1111\u{2011}1111\u{2011}1111",
        "NDExMSAxMTExIDExMTEgMTExMSBpcyBteSBjYXJk",
        "data:text/plain;base64,bXkgY2FyZCBpcyA0MTExMTExMTExMTExMTEx",
        "34313131203131313120313131312031313131",
        "?q=%34%31%31%31%20%31%31%31%31%20%31%31%31%31%20%31%31%31%31",
        "{\"arguments\":\"{\\\"pan\\\":\\\"\\u0034111111111111111\\\"}\"}",
        // Base64 in base64.
        "TkRFeE1TQXhNVEV4SURFeE1URWdNVEV4TVNCcGN5QnRlU0JqWVhKaw==",
    ] {
        check(text, "payment_card@restricted");
    }
    check("аnn@ехample.org", "email@internal");
    // Far behind the place where the text was changed.
    check(&format!("“{}” {}", "word ".repeat(2000), "41111111\u{ad}11111111"), "payment_card@restricted");
}

#[test]
fn reads_across_messages() {
    let router = router("{}");
    let split =
        vec![message("user", "first half: 4111 1111"), message("assistant", "noted"), message("user", " 1111 1111")];
    assert_eq!(read(&router, split), "payment_card@restricted");
    let unrelated = vec![message("user", "4111 apples"), message("user", "1111 pears")];
    assert_eq!(read(&router, unrelated), "@public");
}

#[test]
fn what_it_cannot_finish_reading_is_restricted() {
    let hidden: String = "4111 1111 1111 1111".bytes().map(|b| format!("%{b:02x}")).collect();
    for (depth, expected) in [(2, "payment_card@restricted"), (6, "unreadable@restricted")] {
        let nested = (1..depth).fold(hidden.clone(), |text, _| text.replace('%', "%25"));
        check(&nested, expected);
    }
}

#[test]
fn places_are_inside_the_text() {
    let text = "zero\u{200b}width 4111\u{200b}111111111111 and NDExMSAxMTExIDExMTEgMTExMSBpcyBteSBjYXJk end é";
    let decision = router("{}")
        .route(&request(vec![message("user", text)]), &[backend("home", Sensitivity::Restricted, 1)])
        .expect("served");
    for f in &decision.findings {
        assert!(f.start < f.end && f.end as usize <= text.len(), "{f:?}");
    }
    assert_eq!(decision.findings.len(), 2);
}

#[test]
fn long_runs_are_read_without_recursion_or_alarm() {
    for piece in ["a/", "-", "://", "eyJ", "password=", "xoxb-", "1.", "\\", "account-"] {
        check(&piece.repeat(20_000), "@public");
    }
}

#[test]
fn what_begins_like_an_address_is_none() {
    for text in ["-AA-", ":AA:", "-aa-bb", ":", "-"] {
        check(text, "@public");
    }
}

proptest::proptest! {
    #[test]
    fn reads_any_text_to_its_end(text in "\\PC{0,400}", bytes in "[0-9%\\\\u@:. A-Za-z=/+-]{0,400}") {
        read(&router("{}"), vec![message("user", &text), message("user", &bytes)]);
    }
}
