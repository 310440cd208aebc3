-- Bytes of modules apart from what is known of them: they may be in a bucket instead.

CREATE TABLE module_bytes (
    digest        TEXT COLLATE "C" PRIMARY KEY REFERENCES modules (digest) ON DELETE CASCADE,
    bytes         BYTEA NOT NULL
);
INSERT INTO module_bytes (digest, bytes) SELECT digest, bytes FROM modules;
ALTER TABLE modules DROP COLUMN bytes;
ALTER TABLE modules ADD COLUMN place TEXT COLLATE "C";         -- s3://bucket/prefix, where they are under their digest; absent: in module_bytes
