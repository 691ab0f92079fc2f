-- Authentic changes that wait for a person, or for a change before them.
CREATE TABLE quarantine (
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
    -- The code key beside a binding request, sealed.
    code_key BLOB,
    sender_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'released', 'discarded')),
    received_at BIGINT NOT NULL,
    settled_at BIGINT,
    PRIMARY KEY (tenant_id, hash)
);

CREATE INDEX quarantine_chain ON quarantine (document_id, writer, seq) WHERE state = 'waiting';
CREATE INDEX quarantine_writer ON quarantine (writer, state);
CREATE INDEX quarantine_session ON quarantine (tenant_id, key1, reason) WHERE state = 'waiting';
CREATE INDEX quarantine_waiting ON quarantine (tenant_id, state, received_at);

-- Bounded copies of what was refused, for the admin.
CREATE TABLE refusals (
    tenant_id TEXT NOT NULL,
    sender_id TEXT NOT NULL,
    -- SHA-256 of the bytes as they came.
    bytes_sha256 BLOB NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    change BLOB NOT NULL,
    times BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, sender_id, bytes_sha256)
);
