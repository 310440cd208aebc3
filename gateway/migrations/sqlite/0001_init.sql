-- Everything a gateway keeps. Content-addressed bytes (modules, artifacts) apart from what refers to them.

CREATE TABLE sandboxes (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    runtime      TEXT NOT NULL,
    phase        TEXT NOT NULL,
    spec         TEXT NOT NULL,              -- JSON: the CreateSandbox it was made from
    exit_code    INTEGER,
    failure      TEXT,
    degraded     TEXT NOT NULL DEFAULT '[]', -- JSON array
    generation   INTEGER NOT NULL DEFAULT 0, -- last acknowledged
    token_hash   BLOB NOT NULL UNIQUE,       -- SHA-256 of its supervisor's bearer token
    created_at   TEXT NOT NULL
) STRICT;

CREATE TABLE generations (
    sandbox_id   TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
    number       INTEGER NOT NULL,
    payload      TEXT NOT NULL,              -- exactly what was signed
    signature    TEXT NOT NULL,
    PRIMARY KEY (sandbox_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE modules (
    digest       TEXT PRIMARY KEY,           -- sha256:<hex> of bytes
    name         TEXT NOT NULL,              -- the latest name and version it was stored under
    version      TEXT NOT NULL,
    contract     TEXT NOT NULL,
    hooks        TEXT NOT NULL,              -- JSON array
    imports      TEXT NOT NULL,              -- JSON array
    pure         INTEGER NOT NULL,
    schema       TEXT NOT NULL,              -- JSON
    size         INTEGER NOT NULL,
    bytes        BLOB NOT NULL,
    created_at   TEXT NOT NULL
) STRICT;

CREATE TABLE module_versions (
    name         TEXT NOT NULL,
    version      TEXT NOT NULL,
    digest       TEXT NOT NULL REFERENCES modules (digest),
    PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE artifacts (
    digest       TEXT PRIMARY KEY,           -- sha256:<hex> of bytes
    cache_key    TEXT NOT NULL UNIQUE,       -- module, name, version, settings, compatibility, signing key
    bytes        BLOB NOT NULL,
    created_at   TEXT NOT NULL
) STRICT;

CREATE TABLE providers (
    name         TEXT PRIMARY KEY,
    kind         TEXT NOT NULL,
    rule         TEXT NOT NULL,              -- JSON: CredentialRule
    secret       BLOB NOT NULL,              -- nonce and ChaCha20-Poly1305 ciphertext, bound to the name
    created_at   TEXT NOT NULL
) STRICT;

CREATE TABLE backends (
    position     INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT NOT NULL UNIQUE,
    provider     TEXT REFERENCES providers (name),
    backend      TEXT NOT NULL               -- JSON: Backend
) STRICT;

CREATE TABLE decisions (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    sandbox      TEXT NOT NULL,
    at_us        INTEGER NOT NULL,           -- microseconds since the Unix epoch
    record       TEXT NOT NULL               -- JSON: DecisionRecord
) STRICT;
CREATE INDEX decisions_by_sandbox ON decisions (sandbox, seq);

CREATE TABLE logs (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    sandbox_id   TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
    source_seq   INTEGER NOT NULL,           -- the supervisor's own number; makes redelivery harmless
    line         TEXT NOT NULL,              -- JSON: LogLine
    UNIQUE (sandbox_id, source_seq)
) STRICT;

CREATE TABLE sessions (
    sandbox_id   TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
    session      TEXT NOT NULL,
    sensitivity  INTEGER NOT NULL,           -- 0 public … 3 restricted; only ever rises
    PRIMARY KEY (sandbox_id, session)
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
    key          TEXT PRIMARY KEY,
    value        TEXT NOT NULL               -- JSON
) STRICT, WITHOUT ROWID;
