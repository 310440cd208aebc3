-- How many lines of a sandbox's log are forgotten, all of them before those that are kept: whoever reads on learns what it missed.

CREATE TABLE log_trims (
    sandbox_id   TEXT NOT NULL PRIMARY KEY REFERENCES sandboxes (id) ON DELETE CASCADE,
    lines        INTEGER NOT NULL
) STRICT;
