//! Texts without anything sensitive that look as if they had it.

use crate::encode::base64;
use crate::random::{ALNUM, BASE64, DIGITS, HEX, Random, URL};

use super::filler;

type Make = fn(&mut Random) -> String;

/// A hard negative and what kind of text it is.
pub fn negative(held_out: bool, r: &mut Random) -> (&'static str, String) {
    let of = if held_out { HELD } else { TUNED };
    let (name, make) = of[r.next() as usize % of.len()];
    let body = make(r);
    let text = if r.one_in(2) { body } else { format!("{}\n\n{body}\n\n{}", filler(held_out, r), filler(held_out, r)) };
    (name, text)
}

fn uuid(r: &mut Random) -> String {
    r.fill("%%%%%%%%-%%%%-4%%%-a%%%-%%%%%%%%%%%%")
}

const TUNED: &[(&str, Make)] = &[
    ("prose", |r| (0..6).map(|_| filler(false, r)).collect::<Vec<_>>().join(" ")),
    ("uuid", |r| (0..5).map(|_| uuid(r)).collect::<Vec<_>>().join("\n")),
    ("hash", |r| format!("{}  dist.tar.gz\ncommit {}\n{}  go.sum", r.text(HEX, 64), r.text(HEX, 40), r.text(HEX, 32))),
    ("log", |r| {
        (0..8)
            .map(|i| {
                format!(
                    "2024-05-0{} 12:{:02}:07.{} INFO [worker-{i}] req={} took {} ns, size={}, user=u_{}\n",
                    i + 1,
                    r.range(0, 59),
                    r.text(DIGITS, 6),
                    r.text(HEX, 16),
                    r.range(1_000_000, 99_999_999),
                    r.range(1, 9_999_999),
                    r.range(1000, 99999)
                )
            })
            .collect()
    }),
    ("json", |r| {
        format!(
            "{{\"id\":\"chatcmpl-{}\",\"object\":\"chat.completion\",\"created\":{},\"usage\":{{\"prompt_tokens\":{},\"completion_tokens\":{}}},\"system_fingerprint\":\"fp_{}\"}}",
            r.text(ALNUM, 29),
            r.range(1_600_000_000, 1_799_999_999),
            r.range(1, 9999),
            r.range(1, 9999),
            r.text(HEX, 10)
        )
    }),
    ("lockfile", |r| {
        format!(
            "\"node_modules/left-pad\": {{\n  \"version\": \"1.{}.0\",\n  \"resolved\": \"https://registry.npmjs.org/left-pad/-/left-pad-1.3.0.tgz\",\n  \"integrity\": \"sha512-{}==\"\n}}",
            r.range(0, 9),
            r.text(BASE64, 86)
        )
    }),
    ("code", |r| {
        format!(
            "fn token(&self) -> Option<&Token> {{\n    let password = self.settings.password.as_deref()?;\n    let key = map.get(\"key_{}\");\n    assert_eq!(hash, 0x{});\n    self.tokens.get({})\n}}",
            r.range(0, 99),
            r.text(HEX, 16),
            r.range(0, 999)
        )
    }),
    ("code", |r| {
        format!(
            "api_key = os.environ[\"API_KEY\"]\npassword = getpass.getpass()\nclient = Client(token=settings.TOKEN, timeout={})\nsecret = config.get(\"secret\")\n",
            r.range(1, 60)
        )
    }),
    ("placeholder", |r| {
        format!(
            "export API_KEY={}\npassword: {}\n",
            r.pick(&["<your-api-key>", "YOUR_API_KEY_HERE", "${API_KEY}", "xxxxxxxxxxxxxxxxxxxx", "$(cat key)"]),
            r.pick(&["changeme", "********", "{{ vault_password }}", "<password>"])
        )
    }),
    ("ids", |r| {
        format!(
            "order {} shipped, tracking 1Z{}, invoice INV-{}, SKU {}-{}",
            r.text(DIGITS, 10),
            r.fill("%##@@########"),
            r.text(DIGITS, 8),
            r.fill("@@@"),
            r.text(DIGITS, 5)
        )
    }),
    ("numbers", |r| {
        format!(
            "{}.{} {} 1{} {}e-{} 0x{} {} {}%",
            r.text(DIGITS, 3),
            r.text(DIGITS, 12),
            r.range(1000, 9_999_999),
            r.text(DIGITS, 18),
            r.text(DIGITS, 1),
            r.range(1, 20),
            r.text(HEX, 8),
            r.range(1_700_000_000_000, 1_799_999_999_999),
            r.range(0, 100)
        )
    }),
    ("url", |r| {
        format!(
            "https://example.org/watch?v={}&utm_source=mail&utm_id={}&ref={}#t={}",
            r.text(URL, 11),
            r.text(DIGITS, 8),
            r.text(HEX, 24),
            r.range(1, 999)
        )
    }),
    ("key", |r| {
        format!(
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{} build\n-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A{}\n-----END PUBLIC KEY-----",
            r.text(BASE64, 43),
            r.text(BASE64, 64)
        )
    }),
    ("image", |r| format!("data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAA{}", r.text(BASE64, 400))),
    ("docs", |r| {
        format!(
            "The `password` field is required and must have at least {} characters. Tokens expire after {} hours; see the secret management guide. A key is an opaque string.",
            r.range(8, 20),
            r.range(1, 72)
        )
    }),
    ("encoded", |r| base64((0..4).map(|_| filler(false, r)).collect::<Vec<_>>().join(" ").as_bytes())),
    ("versions", |r| {
        format!(
            "numpy=={}.{}.{}\npydantic-core=={}.{}.{}.{}\nnode v18.{}.0\nChapter 3.1.4.{}",
            r.range(0, 9),
            r.range(0, 30),
            r.range(0, 9),
            r.range(0, 9),
            r.range(0, 9),
            r.range(0, 9),
            r.range(0, 9),
            r.range(0, 20),
            r.range(0, 9)
        )
    }),
    ("manifest", |r| {
        format!(
            "image: registry.example.org/app@sha256:{}\nenv:\n  - name: DB_PASSWORD\n    valueFrom:\n      secretKeyRef: {{name: db, key: password}}\nports: [{}]",
            r.text(HEX, 64),
            r.range(1000, 9999)
        )
    }),
    ("prose", |r| (0..6).map(|_| filler(false, r)).collect::<Vec<_>>().join(" ")),
    ("uuid", |r| {
        (0..4)
            .map(|_| format!("trace={} span={}", uuid(r).replace('-', ""), r.text(HEX, 16)))
            .collect::<Vec<_>>()
            .join("\n")
    }),
    ("hash", |r| {
        format!(
            "index {}..{} 100644\nsha1:{} etag: \"{}\"\nDigest: sha-256={}=",
            r.text(HEX, 7),
            r.text(HEX, 7),
            r.text(HEX, 40),
            r.text(HEX, 32),
            r.text(BASE64, 43)
        )
    }),
    ("log", |r| {
        (0..8)
            .map(|i| {
                format!(
                    "{}.{} kernel: [{}.{}] task {} pid {} addr ffff{} sz {}\n",
                    1_714_550_000 + i,
                    r.text(DIGITS, 9),
                    r.range(1, 99999),
                    r.text(DIGITS, 6),
                    r.pick(&["kworker", "sshd", "nginx"]),
                    r.range(1, 65535),
                    r.text(HEX, 12),
                    r.range(1, 1 << 40)
                )
            })
            .collect()
    }),
    ("json", |r| {
        format!(
            "{{\"id\":\"msg_01{}\",\"type\":\"message\",\"content\":[{{\"type\":\"tool_use\",\"id\":\"toolu_01{}\",\"name\":\"get\",\"input\":{{}}}}],\"usage\":{{\"input_tokens\":{},\"output_tokens\":{}}}}}",
            r.text(ALNUM, 22),
            r.text(ALNUM, 22),
            r.range(1, 9999),
            r.range(1, 9999)
        )
    }),
    ("lockfile", |r| {
        format!(
            "[[package]]\nname = \"serde\"\nversion = \"1.0.{}\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"{}\"\n\ngolang.org/x/net v0.{}.0 h1:{}=",
            r.range(1, 250),
            r.text(HEX, 64),
            r.range(1, 30),
            r.text(BASE64, 43)
        )
    }),
    ("code", |r| {
        format!(
            "if (!user.password) throw new Error('password missing');\nconst accessToken = await auth.getToken({{ scope: 'read' }});\nconst apiKey = process.env.SERVICE_API_KEY ?? '';\nreturn hashPassword(pw, {});",
            r.range(4, 16)
        )
    }),
    ("code", |r| {
        format!(
            "static const uint32_t K[] = {{ 0x{}, 0x{}, 0x{} }};\nchar *secret = getenv(\"APP_SECRET\");\nuint64_t seed = {}ULL;\n",
            r.text(HEX, 8),
            r.text(HEX, 8),
            r.text(HEX, 8),
            r.next()
        )
    }),
    ("placeholder", |r| {
        format!(
            "-H 'Authorization: Bearer {}'\nclient_secret = \"{}\"\n",
            r.pick(&["$TOKEN", "<token>", "YOUR_ACCESS_TOKEN", "..."]),
            r.pick(&["your-client-secret", "REPLACE_ME", "<insert secret>", "************"])
        )
    }),
    ("ids", |r| {
        format!(
            "ticket #{} from build {}.{}, batch {}, part no. {}-{}-{}, EAN 40{}",
            r.range(1000, 999_999),
            r.range(2020, 2025),
            r.text(DIGITS, 8),
            r.text(DIGITS, 12),
            r.text(DIGITS, 4),
            r.text(DIGITS, 3),
            r.fill("@#"),
            r.text(DIGITS, 11)
        )
    }),
    ("numbers", |r| {
        (0..12).map(|_| format!("{};{};{}\n", r.range(1, 1_000_000), r.text(DIGITS, 6), r.range(1, 999))).collect()
    }),
    ("url", |r| {
        format!(
            "s3://bucket/{}/part-{}-{}.c000.snappy.parquet?versionId={}",
            r.range(2019, 2025),
            r.text(DIGITS, 5),
            uuid(r),
            r.text(ALNUM, 32)
        )
    }),
    ("key", |r| {
        format!(
            "-----BEGIN CERTIFICATE-----\nMIIDXTCCAkWgAwIBAgIJ{}\n{}\n-----END CERTIFICATE-----\nSHA256:{} (RSA)",
            r.text(BASE64, 44),
            r.text(BASE64, 64),
            r.text(BASE64, 43)
        )
    }),
    ("image", |r| format!("<img src=\"data:image/jpeg;base64,/9j/4AAQSkZJRgABAQAAAQABAAD/{}\">", r.text(BASE64, 600))),
    ("docs", |r| {
        format!(
            "A session token is issued after login. Set the secret with `kubectl create secret generic app`. Passwords are hashed {} times. API key rotation: every {} days. Access key and secret key come from the console.",
            r.range(10, 20) * 1000,
            r.range(30, 90)
        )
    }),
    ("encoded", |r| (0..4).map(|_| filler(false, r)).collect::<Vec<_>>().join(" ").replace(' ', "%20")),
    ("versions", |r| {
        format!(
            "OpenSSL 3.0.{} (built {} Jan 2024), Chrome/120.0.{}.{}, kernel 6.1.0-{}-amd64, oid 1.3.6.1.4.1.{}",
            r.range(1, 15),
            r.range(1, 28),
            r.range(1000, 9999),
            r.range(1, 200),
            r.range(1, 30),
            r.range(1, 99999)
        )
    }),
    ("manifest", |r| {
        format!(
            "resource \"aws_db_instance\" \"main\" {{\n  password = var.db_password\n  allocated_storage = {}\n  kms_key_id = aws_kms_key.db.arn\n  identifier = \"db-{}\"\n}}",
            r.range(10, 999),
            r.text(HEX, 8)
        )
    }),
];

const HELD: &[(&str, Make)] = &[
    ("prose", |r| (0..7).map(|_| filler(true, r)).collect::<Vec<_>>().join(" ")),
    ("uuid", |r| {
        format!("urn:uuid:{}\nX-Request-Id: {}\nulid 01J{}", uuid(r), uuid(r), r.fill("@#@@##@@#@@##@@#@@##@@#"))
    }),
    ("hash", |r| {
        format!(
            "Merge: {} {}\nintegrity=\"sha256-{}=\"\nETag: W/\"{}\"\nmd5 {}",
            r.text(HEX, 9),
            r.text(HEX, 9),
            r.text(BASE64, 43),
            r.text(HEX, 20),
            r.text(HEX, 32)
        )
    }),
    ("log", |r| {
        (0..8)
            .map(|i| {
                format!(
                    "{{\"ts\":{}.{},\"lvl\":\"info\",\"span\":\"{}\",\"dur_us\":{},\"n\":{i}}}\n",
                    r.range(1_700_000_000, 1_799_999_999),
                    r.text(DIGITS, 3),
                    r.text(HEX, 16),
                    r.range(10, 9_999_999)
                )
            })
            .collect()
    }),
    ("json", |r| {
        format!(
            "{{\"id\":\"resp_{}\",\"output\":[{{\"type\":\"function_call\",\"call_id\":\"call_{}\",\"name\":\"read_file\"}}],\"usage\":{{\"total_tokens\":{}}}}}",
            r.text(HEX, 48),
            r.text(ALNUM, 24),
            r.range(1, 99_999)
        )
    }),
    ("lockfile", |r| {
        format!(
            "requests=={}.{}.{} \\\n    --hash=sha256:{} \\\n    --hash=sha256:{}",
            r.range(1, 3),
            r.range(0, 40),
            r.range(0, 9),
            r.text(HEX, 64),
            r.text(HEX, 64)
        )
    }),
    ("code", |r| {
        format!(
            "@Value(\"${{db.password}}\") private String password;\nif (token == null || token.isExpired()) throw new AuthException(\"token {}\");\n",
            r.range(1, 99)
        )
    }),
    ("code", |r| {
        format!(
            "SELECT count(*) FROM users WHERE password_hash IS NULL AND id > {};\nALTER TABLE sessions ADD COLUMN token text NOT NULL;\n",
            r.range(1, 1 << 40)
        )
    }),
    ("placeholder", |r| {
        format!(
            "{{\"api_key\": \"{}\", \"password\": \"{}\"}}",
            r.pick(&["INSERT_KEY_HERE", "my-api-key", "sk-...", "<API_KEY>", "{api_key}"]),
            r.pick(&["password", "<secret>", "$PASSWORD", "your_password_here", "..."])
        )
    }),
    ("ids", |r| {
        format!(
            "PR #{} closes GH-{}; parcel {}; seat {}{}; ISBN 978-3-{}-{}; case {}/{}",
            r.range(1, 9999),
            r.range(1, 9999),
            r.text(DIGITS, 12),
            r.range(1, 60),
            r.fill("@"),
            r.text(DIGITS, 3),
            r.text(DIGITS, 5),
            r.text(DIGITS, 5),
            r.range(10, 25)
        )
    }),
    ("numbers", |r| {
        (0..10)
            .map(|_| {
                format!("{} {} {}.{}\n", r.text(DIGITS, 16), r.range(1, 99_999_999), r.range(0, 999), r.text(DIGITS, 9))
            })
            .collect()
    }),
    ("url", |r| {
        format!(
            "https://cdn.example.net/assets/{}-{}.js?v={}&s={}",
            r.pick(&["app", "vendor"]),
            r.text(HEX, 20),
            r.range(1, 9999),
            r.text(URL, 22)
        )
    }),
    ("key", |r| {
        format!(
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ{} ci@build\nfingerprint {}",
            r.text(BASE64, 340),
            (0..16).map(|_| r.fill("%%")).collect::<Vec<_>>().join(":")
        )
    }),
    ("image", |r| format!("![chart](data:image/gif;base64,R0lGODlhAQABAIAAAAUEBA{})", r.text(BASE64, 300))),
    ("docs", |r| {
        format!(
            "Choose a strong password of {} characters or more. The token endpoint returns a JSON document; the secret never leaves the vault. Keys: Enter, Esc, F{}.",
            r.range(10, 30),
            r.range(1, 12)
        )
    }),
    ("encoded", |r| {
        let s = (0..3).map(|_| filler(true, r)).collect::<Vec<_>>().join(" ");
        s.bytes().map(|b| format!("{b:02x}")).collect()
    }),
    ("versions", |r| {
        format!(
            "go1.{}.{} linux/amd64, PostgreSQL {}.{}, glibc 2.{}, firmware {}.{}.{}.{}",
            r.range(18, 25),
            r.range(0, 12),
            r.range(12, 17),
            r.range(0, 9),
            r.range(28, 40),
            r.range(0, 9),
            r.range(0, 9),
            r.range(0, 99),
            r.range(0, 999)
        )
    }),
    ("manifest", |r| {
        format!(
            "services:\n  db:\n    image: postgres:16@sha256:{}\n    environment:\n      POSTGRES_PASSWORD_FILE: /run/secrets/db\n    ports: [\"{}:5432\"]\n",
            r.text(HEX, 64),
            r.range(1024, 65535)
        )
    }),
];
