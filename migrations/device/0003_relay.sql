-- What this phone carries for others: signed changes as they came, each with its manifest sealed to the server.
CREATE TABLE carried (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    change_hash BLOB NOT NULL UNIQUE,
    document BLOB NOT NULL,
    writer BLOB NOT NULL,
    seq BIGINT NOT NULL,
    -- The document's natural key: class session and student.
    key TEXT NOT NULL,
    key2 TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'accepted', 'quarantined', 'refused')),
    reason TEXT,
    receipt BLOB,
    size_bytes BIGINT NOT NULL,
    -- These go when the server has answered.
    bytes BLOB,
    signature BLOB,
    sealed_manifest BLOB
);

CREATE INDEX carried_open ON carried (id) WHERE state = 'queued';
CREATE INDEX carried_open_by_session ON carried (key, size_bytes) WHERE state = 'queued';
CREATE INDEX carried_by_chain ON carried (document, writer, seq);
CREATE INDEX carried_settled ON carried (id) WHERE state <> 'queued';

-- Own changes of which a relay, named by its device, said that it carries them. It proves nothing.
CREATE TABLE handed_over (
    change_hash BLOB NOT NULL,
    relay BLOB NOT NULL,
    PRIMARY KEY (change_hash, relay)
);
