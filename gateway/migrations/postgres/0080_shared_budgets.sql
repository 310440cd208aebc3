-- Budgets that the sandboxes of one user spend together, and what of them was dealt to each.

CREATE TABLE owner_budgets (
    owner         TEXT COLLATE "C" PRIMARY KEY,
    budgets       TEXT NOT NULL                                -- JSON: [Budget]
);

CREATE TABLE budget_shares (
    sandbox_id    TEXT COLLATE "C" NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
    period        TEXT NOT NULL,                               -- day, month, total
    number        BIGINT NOT NULL,                             -- of the window
    backend       TEXT COLLATE "C" NOT NULL,                   -- '': all together
    cost          BIGINT NOT NULL,                             -- millionths of a millionth of a US dollar
    tokens        BIGINT NOT NULL,
    serial        BIGINT NOT NULL,
    PRIMARY KEY (sandbox_id, period, number, backend)
);

-- Whose sandbox used it; a sandbox may be gone before its usage counts no more.
ALTER TABLE usage ADD COLUMN owner TEXT COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX usage_by_owner ON usage (owner, day);
