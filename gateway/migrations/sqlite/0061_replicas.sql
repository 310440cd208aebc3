-- Several gateways on one database, which a file never has: the tables are empty there.
CREATE TABLE replicas (
    id           TEXT PRIMARY KEY,
    url          TEXT NOT NULL,
    seen_ms      INTEGER NOT NULL            -- since the Unix epoch, by the database's clock
) STRICT;

-- Which of them a sandbox is linked to.
CREATE TABLE links (
    sandbox_id   TEXT PRIMARY KEY REFERENCES sandboxes (id) ON DELETE CASCADE,
    replica      TEXT NOT NULL REFERENCES replicas (id) ON DELETE CASCADE,
    number       INTEGER NOT NULL
) STRICT;

-- What they share, sealed with a key of their passphrase.
CREATE TABLE keyring (
    name         TEXT PRIMARY KEY,
    sealed       BLOB NOT NULL
) STRICT;

ALTER TABLE sandboxes ADD COLUMN host TEXT; -- the one on whose machine it runs; absent: the only one
