-- What usage comes to, so that a budget need not add up every request there ever was.

CREATE TABLE spending (
    sandbox_id    TEXT NOT NULL,
    owner         TEXT NOT NULL,             -- whose sandbox used it then
    backend       TEXT NOT NULL,
    day           INTEGER NOT NULL,          -- since the Unix epoch, in UTC
    month         INTEGER NOT NULL,          -- since the year 0, in UTC
    cost          INTEGER NOT NULL,          -- millionths of a millionth of a US dollar
    tokens        INTEGER NOT NULL,          -- input and output
    PRIMARY KEY (sandbox_id, owner, backend, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX spending_by_owner ON spending (owner, day);

INSERT INTO spending
SELECT sandbox_id, owner, backend, day, month, sum(cost), sum(input_tokens + output_tokens)
FROM usage GROUP BY sandbox_id, owner, backend, day, month;
DROP INDEX usage_by_owner;
