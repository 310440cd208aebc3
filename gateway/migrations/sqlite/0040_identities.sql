-- Users and their tokens, the credentials of supervisors, and whose a sandbox is.

CREATE TABLE users (
    name         TEXT PRIMARY KEY,
    role         TEXT NOT NULL,              -- viewer, operator, admin
    created_at   TEXT NOT NULL,
    deleted_at   TEXT                        -- a name that was used once is never used again
) STRICT, WITHOUT ROWID;

CREATE TABLE user_tokens (
    id           TEXT PRIMARY KEY,
    user         TEXT NOT NULL REFERENCES users (name),
    name         TEXT NOT NULL,
    hash         BLOB NOT NULL UNIQUE,       -- SHA-256
    created_at   TEXT NOT NULL,
    expires_ms   INTEGER,                    -- since the Unix epoch; absent: never
    used_ms      INTEGER,
    UNIQUE (user, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE supervisor_keys (
    hash         BLOB PRIMARY KEY,           -- SHA-256
    sandbox_id   TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
    pair         INTEGER NOT NULL,           -- a key and a refresh are given out together; 0: what the supervisor was started with
    kind         TEXT NOT NULL,              -- key, refresh
    state        TEXT NOT NULL,              -- offered, current, old, used; legacy: of a supervisor that knows no rotation
    expires_ms   INTEGER                     -- of a key
) STRICT, WITHOUT ROWID;
CREATE INDEX supervisor_keys_by_sandbox ON supervisor_keys (sandbox_id, pair);

-- From now on sandboxes.token_hash says nothing any more.
INSERT INTO supervisor_keys (hash, sandbox_id, pair, kind, state) SELECT token_hash, id, 0, 'refresh', 'legacy' FROM sandboxes;

ALTER TABLE sandboxes ADD COLUMN owner TEXT NOT NULL DEFAULT 'admin';
-- Whoever stores a module first owns its name; absent: administrators alone.
CREATE TABLE module_owners (
    name         TEXT PRIMARY KEY,
    owner        TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Whose credential it is, and whether everybody's sandboxes may use it. Those that are there were made when there was one user.
ALTER TABLE providers ADD COLUMN owner TEXT NOT NULL DEFAULT 'admin';
ALTER TABLE providers ADD COLUMN shared INTEGER NOT NULL DEFAULT 1;
ALTER TABLE providers ADD COLUMN refresh TEXT; -- JSON: RefreshState; absent: its secret is the credential itself
