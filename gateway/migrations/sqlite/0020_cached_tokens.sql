-- Input tokens that a prompt cache held, of `input_tokens`.
ALTER TABLE usage ADD COLUMN cached_tokens INTEGER NOT NULL DEFAULT 0;
