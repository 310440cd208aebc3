-- What a probe inside a sandbox last found about its walls (JSON: Enforcement); absent: it has not tried yet.
ALTER TABLE sandboxes ADD COLUMN enforcement TEXT;
