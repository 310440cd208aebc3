-- Where decisions are sent, and how far each has come.

CREATE TABLE exports (
    name         TEXT PRIMARY KEY,
    export       TEXT NOT NULL,              -- JSON: Export
    provider     TEXT REFERENCES providers (name),
    position     INTEGER NOT NULL,           -- number of the last decision that needs no sending
    delivered    INTEGER NOT NULL DEFAULT 0,
    refused      INTEGER NOT NULL DEFAULT 0,
    lost         INTEGER NOT NULL DEFAULT 0,
    delivered_ms INTEGER,                    -- since the Unix epoch
    problem      TEXT
) STRICT, WITHOUT ROWID;
