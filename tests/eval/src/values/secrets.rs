//! Keys, tokens and passwords in their issuers' formats.

use super::{Kind, kind};
use crate::case::Family;
use crate::encode::base64;
use crate::random::{ALNUM, BASE32, BASE64, HEX, LOWER, Random, UPPER, URL};

pub fn kinds() -> Vec<Kind> {
    let keyed = (&["my API key", "the key", "our token"][..], &["api_key", "token", "KEY"][..]);
    let keyed_too = (&["the credential", "access token", "this one"][..], &["apiToken", "ACCESS", "cred"][..]);
    let k = |name, make| kind(Family::Secret, name, make, keyed, keyed_too);
    let mut kinds = vec![
        k("aws_access_key", |r| format!("{}{}", r.pick(&["AKIA", "ASIA"]), r.text(BASE32, 16))),
        k("gcp_api_key", |r| format!("AIza{}", r.text(URL, 35))),
        k("github_token", |r| match r.range(0, 2) {
            0 => format!("github_pat_{}_{}", r.text(ALNUM, 22), r.text(ALNUM, 59)),
            _ => format!("{}{}", r.pick(&["ghp_", "gho_", "ghs_"]), r.text(ALNUM, 36)),
        }),
        k("gitlab_token", |r| format!("glpat-{}", r.text(URL, 20))),
        k("slack_token", |r| match r.range(0, 2) {
            0 => format!(
                "https://hooks.slack.com/services/T{}/B{}/{}",
                r.text(BASE32, 8),
                r.text(BASE32, 8),
                r.text(ALNUM, 24)
            ),
            1 => r.fill("xoxp-############-############-#############-%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%"),
            _ => format!("{}{}", r.fill("xoxb-############-#############-"), r.text(ALNUM, 24)),
        }),
        k("stripe_key", |r| format!("{}{}", r.pick(&["sk_live_", "rk_live_", "sk_test_"]), r.text(ALNUM, 24))),
        k("anthropic_key", |r| format!("sk-ant-api03-{}AA", r.text(URL, 93))),
        k("openai_key", |r| match r.range(0, 1) {
            0 => format!("sk-proj-{}T3BlbkFJ{}", r.text(URL, 74), r.text(URL, 74)),
            _ => format!("sk-{}T3BlbkFJ{}", r.text(ALNUM, 20), r.text(ALNUM, 20)),
        }),
        k("npm_token", |r| format!("npm_{}", r.text(ALNUM, 36))),
        k("pypi_token", |r| format!("pypi-AgEIcHlwaS5vcmc{}", r.text(URL, 140))),
        k("huggingface_token", |r| format!("hf_{}", r.text(&ALNUM[..52], 34))),
        k("sendgrid_key", |r| format!("SG.{}.{}", r.text(URL, 22), r.text(URL, 43))),
        k("twilio_key", |r| format!("SK{}", r.text(HEX, 32))),
        k("digitalocean_token", |r| format!("dop_v1_{}", r.text(HEX, 64))),
        k("databricks_token", |r| format!("dapi{}", r.text(HEX, 32))),
        k("shopify_token", |r| format!("shpat_{}", r.text(HEX, 32))),
        k("vault_token", |r| format!("hvs.{}", r.text(URL, 90))),
        k("grafana_token", |r| format!("glsa_{}_{}", r.text(ALNUM, 32), r.text(HEX, 8))),
        k("telegram_token", |r| format!("{}:AA{}", r.range(100_000_000, 7_999_999_999), r.text(URL, 33))),
        k("discord_token", |r| {
            let id = base64(r.range(100_000_000_000_000_000, 999_999_999_999_999_999).to_string().as_bytes());
            format!("{}.{}.{}", id, format_args!("G{}", r.text(URL, 5)), r.text(URL, 38))
        }),
        k("mailchimp_key", |r| format!("{}-us{}", r.text(HEX, 32), r.range(1, 21))),
        k("azure_client_secret", |r| format!("{}8Q~{}", r.text(ALNUM, 3), r.text(URL, 34))),
        k("jwt", jwt),
        k("linear_key", |r| format!("lin_api_{}", r.text(ALNUM, 40))),
        k("docker_token", |r| format!("dckr_pat_{}", r.text(URL, 27))),
        kind(
            Family::Secret,
            "connection_string",
            connection_string,
            (&["the database is at", "connect to"], &["DATABASE_URL", "dsn"]),
            (&["use", "our broker:"], &["REDIS_URL", "uri"]),
        ),
        kind(
            Family::Secret,
            "password",
            password,
            (
                &["my password", "the password for the server", "mein Passwort", "mi contraseña", "the passphrase"],
                &["password", "DB_PASSWORD", "passwd", "user_pwd"],
            ),
            (
                &[
                    "the root password",
                    "das Kennwort",
                    "le mot de passe",
                    "la password",
                    "a minha senha",
                    "Wi-Fi password",
                    "log in with the password",
                    "Passwort für den Router",
                    "the pass phrase is",
                    "contraseña temporal",
                    "your new pwd",
                ],
                &["SMTP_PASS", "adminPassword", "ldap.bind.password", "PGPASSWORD"],
            ),
        ),
        kind(
            Family::Secret,
            "secret",
            generic,
            (
                &["the client secret", "our api key", "the access token"],
                &["client_secret", "SECRET_KEY", "api_key", "authToken"],
            ),
            (
                &["the signing key", "the webhook secret", "the encryption key"],
                &["JWT_SECRET", "consumerSecret", "x-api-key", "session_secret", "aws_secret_access_key"],
            ),
        ),
    ];
    let mut pem = k("private_key", |r| {
        let label = r.pick(&["RSA ", "", "EC ", "OPENSSH "]);
        let lines: Vec<String> = (0..r.range(4, 25)).map(|_| r.text(BASE64, 64)).collect();
        format!(
            "-----BEGIN {label}PRIVATE KEY-----\n{}\n{}==\n-----END {label}PRIVATE KEY-----",
            lines.join("\n"),
            r.text(BASE64, 22)
        )
    });
    pem.whole = true;
    let mut header = k("secret", |r| match r.range(0, 2) {
        0 => format!("Authorization: Bearer {}", r.text(ALNUM, 40)),
        1 => format!("Authorization: Basic {}", base64(format!("{}:{}", r.text(LOWER, 6), password(r)).as_bytes())),
        _ => format!("X-Auth-Token: {}", r.text(HEX, 40)),
    });
    header.whole = true;
    let mut storage = k("secret", |r| {
        format!(
            "DefaultEndpointsProtocol=https;AccountName={};AccountKey={}==;EndpointSuffix=core.windows.net",
            r.text(LOWER, 9),
            r.text(BASE64, 86)
        )
    });
    storage.whole = true;
    kinds.extend([pem, header, storage]);
    kinds
}

fn jwt(r: &mut Random) -> String {
    let url = |text: String| base64(text.as_bytes()).trim_end_matches('=').replace('+', "-").replace('/', "_");
    let head = url(format!("{{\"alg\":\"{}\",\"typ\":\"JWT\"}}", r.pick(&["HS256", "RS256", "ES256"])));
    let body = url(format!("{{\"sub\":\"{}\",\"iat\":{}}}", r.text(ALNUM, 12), r.range(1_600_000_000, 1_800_000_000)));
    format!("{head}.{body}.{}", r.text(URL, 43))
}

fn connection_string(r: &mut Random) -> String {
    let scheme = r.pick(&["postgres", "postgresql", "mysql", "mongodb+srv", "redis", "amqp", "https", "ftp"]);
    let user = r.pick(&["app", "admin", "svc_orders", "root"]);
    let host = r.pick(&["db.internal", "10.0.3.7", "cluster0.x2k9a.mongodb.net", "mq.prod.example.net"]);
    format!("{scheme}://{user}:{}@{host}:{}/{}", r.text(ALNUM, 14), r.range(1000, 9999), r.text(LOWER, 5))
}

/// As people choose them and as generators make them.
fn password(r: &mut Random) -> String {
    let words = ["summer", "dragon", "Monkey", "tiger", "Berlin", "pizza", "guitar", "Winter", "coffee", "orange"];
    match r.range(0, 4) {
        0 => format!("{}{}{}", r.pick(&words), r.range(1, 2030), r.pick(&["!", "#", "", "$", "@"])),
        1 => format!("{}-{}-{}{}", r.pick(&words), r.pick(&words), r.pick(&words), r.range(0, 99)),
        2 => format!("{}{}{}!{}", r.text(UPPER, 1), r.text(LOWER, 5), r.range(0, 99), r.text(LOWER, 2)),
        3 => r.text(ALNUM, 8) + &r.range(0, 9).to_string(),
        _ => format!("{}{}{}", r.text(ALNUM, 6), r.pick(&["%", "^", "&", "*", "?"]), r.text(ALNUM, 7)),
    }
}

fn generic(r: &mut Random) -> String {
    match r.range(0, 3) {
        0 => r.text(HEX, 32),
        1 => r.text(ALNUM, 40),
        2 => format!("{}==", r.text(BASE64, 42)),
        _ => r.text(URL, 24) + &r.range(10, 99).to_string(),
    }
}
