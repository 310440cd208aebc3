-- What usage comes to, so that a budget need not add up every request there ever was.

CREATE TABLE spending (
    sandbox_id    TEXT COLLATE "C" NOT NULL,
    owner         TEXT COLLATE "C" NOT NULL,                   -- whose sandbox used it then
    backend       TEXT COLLATE "C" NOT NULL,
    day           BIGINT NOT NULL,                             -- since the Unix epoch, in UTC
    month         BIGINT NOT NULL,                             -- since the year 0, in UTC
    cost          BIGINT NOT NULL,                             -- millionths of a millionth of a US dollar
    tokens        BIGINT NOT NULL,                             -- input and output
    PRIMARY KEY (sandbox_id, owner, backend, day)
);
CREATE INDEX spending_by_owner ON spending (owner, day);

INSERT INTO spending
SELECT sandbox_id, owner, backend, day, month, CAST(sum(cost) AS BIGINT), CAST(sum(input_tokens + output_tokens) AS BIGINT)
FROM usage GROUP BY sandbox_id, owner, backend, day, month;
DROP INDEX usage_by_owner;
