-- Budgets that the sandboxes of one user spend together, and what of them was dealt to each.

CREATE TABLE owner_budgets (
    owner        TEXT PRIMARY KEY,
    budgets      TEXT NOT NULL               -- JSON: [Budget]
) STRICT, WITHOUT ROWID;

CREATE TABLE budget_shares (
    sandbox_id   TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
    period       TEXT NOT NULL,              -- day, month, total
    number       INTEGER NOT NULL,           -- of the window
    backend      TEXT NOT NULL,              -- '': all together
    cost         INTEGER NOT NULL,           -- millionths of a millionth of a US dollar
    tokens       INTEGER NOT NULL,
    serial       INTEGER NOT NULL,
    PRIMARY KEY (sandbox_id, period, number, backend)
) STRICT, WITHOUT ROWID;

-- Whose sandbox used it; a sandbox may be gone before its usage counts no more.
ALTER TABLE usage ADD COLUMN owner TEXT NOT NULL DEFAULT '';
UPDATE usage SET owner = COALESCE((SELECT owner FROM sandboxes WHERE sandboxes.id = usage.sandbox_id), '');
CREATE INDEX usage_by_owner ON usage (owner, day);
