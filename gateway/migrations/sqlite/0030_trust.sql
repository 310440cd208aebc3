-- What agents ask for, policies that are on their way, and who vouches for modules.

CREATE TABLE proposals (
    id           TEXT PRIMARY KEY,
    sandbox_id   TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
    state        TEXT NOT NULL,              -- pending, approved, rejected
    asked        TEXT NOT NULL,              -- JSON: Propose
    asked_by     TEXT NOT NULL,              -- JSON: ProcessRecord
    created_at   TEXT NOT NULL,
    decided_at   TEXT,
    reason       TEXT,                       -- of a rejection
    generation   INTEGER                     -- that has it
) STRICT;
CREATE INDEX proposals_by_sandbox ON proposals (sandbox_id, state);

CREATE TABLE rollouts (
    id           TEXT PRIMARY KEY,
    state        TEXT NOT NULL,              -- running, promoted, rolled_back
    rollout      TEXT NOT NULL               -- JSON: Rollout
) STRICT;

CREATE TABLE publishers (
    name         TEXT PRIMARY KEY,
    key          TEXT NOT NULL UNIQUE,       -- ed25519:<hex>
    added_at     TEXT NOT NULL
) STRICT;

CREATE TABLE module_signatures (
    digest       TEXT NOT NULL REFERENCES modules (digest) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    version      TEXT NOT NULL,
    key          TEXT NOT NULL,              -- ed25519:<hex>
    signature    TEXT NOT NULL,              -- JSON: ModuleSignature; verified before it was stored
    PRIMARY KEY (digest, name, version, key)
) STRICT, WITHOUT ROWID;
