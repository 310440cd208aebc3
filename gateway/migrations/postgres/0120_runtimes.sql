-- Docker engines of other machines.

CREATE TABLE runtimes (
    name          TEXT COLLATE "C" PRIMARY KEY,
    runtime       TEXT NOT NULL,                               -- JSON: StoredRuntime
    key           BYTEA                                        -- envelope of the PEM key that the gateway shows there, bound to "runtime <name>"
);
