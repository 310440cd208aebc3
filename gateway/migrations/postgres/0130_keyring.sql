-- What gateways share turns while they run: a greater number is newer.
ALTER TABLE keyring ADD COLUMN number BIGINT NOT NULL DEFAULT 0;
