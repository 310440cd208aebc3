-- POSTs that take effect once: what was asked under an idempotency key, and what it was answered.
CREATE TABLE idempotency (
    key          BLOB PRIMARY KEY,           -- SHA-256 of the user and the key
    request      BLOB NOT NULL,              -- SHA-256 of method, path, query and body
    answer       BLOB,                       -- encrypted, for it may hold a secret; absent: not answered yet
    until_ms     INTEGER NOT NULL            -- since the Unix epoch: when it is forgotten
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_end ON idempotency (until_ms);
