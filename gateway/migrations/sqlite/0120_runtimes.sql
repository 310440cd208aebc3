-- Docker engines of other machines.

CREATE TABLE runtimes (
    name         TEXT PRIMARY KEY,
    runtime      TEXT NOT NULL,              -- JSON: StoredRuntime
    key          BLOB                        -- envelope of the PEM key that the gateway shows there, bound to "runtime <name>"
) STRICT, WITHOUT ROWID;
