-- The end of the audit trail as the gateway signed it, in the transaction of its last link (JSON: AuditHead).
CREATE TABLE audit_head (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    head         TEXT NOT NULL
) STRICT;
