-- What is about to be put into a bucket is written down before it is put there, so that nothing stays there that no module names.

ALTER TABLE modules ADD COLUMN object TEXT;  -- its name below the place; absent: sha256/<digest>.wasm, as versions before put it there

CREATE TABLE module_puts (
    place        TEXT NOT NULL,
    object       TEXT NOT NULL,               -- never used twice
    gateway      TEXT NOT NULL,               -- whose doing it is: the id of its state directory
    begun_ms     INTEGER NOT NULL,            -- since the Unix epoch, by the database's clock
    given_up     INTEGER NOT NULL DEFAULT 0,  -- 1: no module will name it, so it goes
    removed_ms   INTEGER,                     -- when it was removed last; absent: not yet
    PRIMARY KEY (place, object)
) STRICT;
