-- Who changed what: each row is chained to the one before it by its hash.

CREATE TABLE audit (
    seq          INTEGER PRIMARY KEY,        -- 1, 2, 3 …
    entry        TEXT NOT NULL,              -- JSON: AuditEntry, exactly what was hashed
    hash         BLOB NOT NULL               -- SHA-256 of the hash before and the entry
) STRICT;
