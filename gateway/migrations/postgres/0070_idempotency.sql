-- POSTs that take effect once: what was asked under an idempotency key, and what it was answered.
CREATE TABLE idempotency (
    key           BYTEA PRIMARY KEY,                           -- SHA-256 of the user and the key
    request       BYTEA NOT NULL,                              -- SHA-256 of method, path, query and body
    answer        BYTEA,                                       -- encrypted, for it may hold a secret; absent: not answered yet
    until_ms      BIGINT NOT NULL                              -- since the Unix epoch: when it is forgotten
);
CREATE INDEX idempotency_by_end ON idempotency (until_ms);
