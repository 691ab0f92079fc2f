-- Who did what to whom, for ever: one row per action, written in the transaction of the action itself.
CREATE TABLE audit_heads (
    tenant_id TEXT PRIMARY KEY,
    -- Newest number, from 1 and without gaps.
    last_number BIGINT NOT NULL,
    -- The hash of the row with that number.
    last_hash BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE audit_log (
    tenant_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    actor_id TEXT NOT NULL,
    actor_role TEXT NOT NULL,
    action TEXT NOT NULL,
    object_kind TEXT NOT NULL,
    object_id TEXT NOT NULL,
    reason TEXT,
    request_id TEXT NOT NULL,
    result TEXT NOT NULL,
    -- SHA-256 over the hash of the row before and everything above.
    hash BLOB NOT NULL,
    PRIMARY KEY (tenant_id, number)
);

CREATE TRIGGER audit_log_is_never_updated BEFORE UPDATE ON audit_log
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER audit_log_is_never_deleted BEFORE DELETE ON audit_log
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
