-- The change log: what was admitted, for ever. Rows that people query are projections of it.
CREATE TABLE log_heads (
    tenant_id TEXT PRIMARY KEY,
    -- Newest log index, from 1 and without gaps.
    last_index BIGINT NOT NULL,
    -- Newest number in any channel of the tenant.
    last_number BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE documents (
    document_id BLOB PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    kind BIGINT NOT NULL,
    key1 TEXT NOT NULL,
    key2 TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE change_log (
    tenant_id TEXT NOT NULL,
    log_index BIGINT NOT NULL,
    document_id BLOB NOT NULL,
    writer BLOB NOT NULL,
    seq BIGINT NOT NULL,
    max_op BIGINT NOT NULL,
    hash BLOB NOT NULL,
    change BLOB NOT NULL,
    signature BLOB NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, log_index)
);

-- One change per place in a chain: a second one is equivocation.
CREATE UNIQUE INDEX change_log_chain ON change_log (document_id, writer, seq);

CREATE TRIGGER change_log_is_never_updated BEFORE UPDATE ON change_log
BEGIN
    SELECT RAISE(ABORT, 'the change log is append-only');
END;

CREATE TRIGGER change_log_is_never_deleted BEFORE DELETE ON change_log
BEGIN
    SELECT RAISE(ABORT, 'the change log is append-only');
END;

-- Which changes a channel holds, in the order in which they came into it. A channel's key is a hash of its name.
CREATE TABLE channel_entries (
    channel_key BIGINT NOT NULL,
    number BIGINT NOT NULL,
    log_index BIGINT NOT NULL,
    PRIMARY KEY (channel_key, number)
) WITHOUT ROWID;
