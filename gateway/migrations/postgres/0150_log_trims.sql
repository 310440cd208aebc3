-- How many lines of a sandbox's log are forgotten, all of them before those that are kept: whoever reads on learns what it missed.

CREATE TABLE log_trims (
    sandbox_id    TEXT COLLATE "C" PRIMARY KEY REFERENCES sandboxes (id) ON DELETE CASCADE,
    lines         BIGINT NOT NULL
);
