-- What inference was used, and what it cost: one row per request that was served. Kept when its decision is forgotten.

CREATE TABLE usage (
    decision      TEXT PRIMARY KEY,          -- id of the decision; makes redelivery harmless
    sandbox_id    TEXT NOT NULL,
    sandbox       TEXT NOT NULL,
    backend       TEXT NOT NULL,
    model         TEXT NOT NULL,
    day           INTEGER NOT NULL,          -- since the Unix epoch, in UTC
    month         INTEGER NOT NULL,          -- since the year 0, in UTC
    input_tokens  INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost          INTEGER NOT NULL           -- millionths of a millionth of a US dollar
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_by_sandbox ON usage (sandbox_id, day);
CREATE INDEX usage_by_day ON usage (day);
