-- Several gateways on one database: when they were last seen, by its own clock.
CREATE TABLE replicas (
    id            TEXT COLLATE "C" PRIMARY KEY,
    url           TEXT NOT NULL,
    seen_ms       BIGINT NOT NULL
);

-- Which of them a sandbox is linked to.
CREATE TABLE links (
    sandbox_id    TEXT COLLATE "C" PRIMARY KEY REFERENCES sandboxes (id) ON DELETE CASCADE,
    replica       TEXT COLLATE "C" NOT NULL REFERENCES replicas (id) ON DELETE CASCADE,
    number        BIGINT NOT NULL
);

-- What they share, sealed with a key of their passphrase.
CREATE TABLE keyring (
    name          TEXT COLLATE "C" PRIMARY KEY,
    sealed        BYTEA NOT NULL
);

ALTER TABLE sandboxes ADD COLUMN host TEXT COLLATE "C"; -- the one on whose machine it runs; absent: the only one

-- SQLite's, with what it answers for 'subsec': seconds since the Unix epoch.
CREATE FUNCTION unixepoch(modifier text) RETURNS double precision LANGUAGE sql VOLATILE STRICT AS $$
    SELECT extract(epoch FROM clock_timestamp())::double precision
$$;
