-- Where decisions are sent, and how far each has come.

CREATE TABLE exports (
    name          TEXT COLLATE "C" PRIMARY KEY,
    export        TEXT NOT NULL,                               -- JSON: Export
    provider      TEXT COLLATE "C" REFERENCES providers (name),
    position      BIGINT NOT NULL,                             -- number of the last decision that needs no sending
    delivered     BIGINT NOT NULL DEFAULT 0,
    refused       BIGINT NOT NULL DEFAULT 0,
    lost          BIGINT NOT NULL DEFAULT 0,
    delivered_ms  BIGINT,                                      -- since the Unix epoch
    problem       TEXT
);
