-- Which person settled what waited, and why; a reason without a person is a refusal of the rules.
ALTER TABLE quarantine ADD COLUMN settled_by TEXT;
ALTER TABLE quarantine ADD COLUMN settle_reason TEXT;
-- Since when there is something to tell the device that wrote it; NULL once it asked again.
ALTER TABLE quarantine ADD COLUMN tell_since BIGINT;

CREATE INDEX quarantine_to_tell ON quarantine (writer) WHERE tell_since IS NOT NULL;

-- Whether these very bytes were refused before.
CREATE INDEX refusals_by_bytes ON refusals (tenant_id, bytes_sha256);

-- Evidence of equivocation: changes that claim a place which another change of the same writer has in the log. They are
-- kept whatever becomes of them in quarantine, and however they came.
CREATE TABLE rivals (
    tenant_id TEXT NOT NULL,
    hash BLOB NOT NULL,
    document_id BLOB NOT NULL,
    kind BIGINT NOT NULL,
    key1 TEXT NOT NULL,
    key2 TEXT NOT NULL,
    writer BLOB NOT NULL,
    seq BIGINT NOT NULL,
    change BLOB NOT NULL,
    signature BLOB NOT NULL,
    sender_id TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, hash)
);

CREATE INDEX rivals_by_writer ON rivals (tenant_id, writer, received_at);
CREATE INDEX rivals_by_time ON rivals (tenant_id, received_at, hash);
