-- What the store knows once: tenant, user, pinned server key, newest anchor reading, code keys.
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
);

-- Every signed change on this device, its own and pulled ones, in the bytes that were signed.
CREATE TABLE changes (
    hash BLOB PRIMARY KEY,
    document BLOB NOT NULL,
    kind BIGINT NOT NULL,
    key TEXT NOT NULL,
    key2 TEXT NOT NULL,
    writer BLOB NOT NULL,
    seq BIGINT NOT NULL,
    max_op BIGINT NOT NULL,
    dep BLOB NOT NULL,
    bytes BLOB NOT NULL,
    signature BLOB NOT NULL,
    -- Its place in the server's log and when the server had it; NULL while only this device knows it.
    log_index BIGINT,
    received_at_ms BIGINT
);

CREATE INDEX changes_by_document ON changes (document, writer, seq);
CREATE INDEX changes_by_name ON changes (kind, key);

-- The newest change of this device's chains: all that is needed to append.
CREATE TABLE chains (
    document BLOB NOT NULL,
    writer BLOB NOT NULL,
    kind BIGINT NOT NULL,
    key TEXT NOT NULL,
    key2 TEXT NOT NULL,
    seq BIGINT NOT NULL,
    hash BLOB NOT NULL,
    max_op BIGINT NOT NULL,
    -- 0 whole, 1 broken and waiting until everything was pulled again, 2 ready to be rebuilt.
    break_state BIGINT NOT NULL CHECK (break_state IN (0, 1, 2)),
    PRIMARY KEY (document, writer)
);

CREATE INDEX chains_broken ON chains (break_state) WHERE break_state > 0;

-- One row per change that this device wrote: its manifest, and what became of it.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    change_hash BLOB NOT NULL UNIQUE REFERENCES changes (hash) ON UPDATE CASCADE,
    document BLOB NOT NULL,
    writer BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'sent', 'accepted', 'quarantined', 'refused')),
    reason TEXT,
    manifest BLOB,
    code_key BLOB,
    chain_failures BIGINT NOT NULL DEFAULT 0,
    receipt BLOB
);

-- What is still to be pushed, oldest first, however much was accepted before.
CREATE INDEX outbox_open ON outbox (id) WHERE state IN ('queued', 'sent');
CREATE INDEX outbox_by_state ON outbox (state, id);
CREATE INDEX outbox_by_document ON outbox (document, writer);

-- Captures: what a person sees a state of. The id stays when the change has to be signed again.
CREATE TABLE records (
    outbox_id BIGINT PRIMARY KEY REFERENCES outbox (id),
    document BLOB NOT NULL,
    locator TEXT NOT NULL,
    student TEXT NOT NULL,
    captured_at_ms BIGINT NOT NULL
);

-- Images to upload. The bytes go when the server has them.
CREATE TABLE blobs (
    sha256 BLOB PRIMARY KEY,
    image_type TEXT NOT NULL CHECK (image_type IN ('jpeg', 'png')),
    size_bytes BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'uploaded', 'failed')),
    wanted BIGINT NOT NULL DEFAULT 0,
    reason TEXT
);

CREATE INDEX blobs_by_state ON blobs (state, wanted);

-- Apart from their rows, so that listing images does not read them.
CREATE TABLE blob_bytes (
    sha256 BLOB PRIMARY KEY REFERENCES blobs (sha256),
    bytes BLOB NOT NULL
);

CREATE TABLE record_images (
    outbox_id BIGINT NOT NULL REFERENCES records (outbox_id),
    sha256 BLOB NOT NULL REFERENCES blobs (sha256),
    purpose TEXT NOT NULL,
    PRIMARY KEY (outbox_id, sha256)
);

CREATE INDEX record_images_by_blob ON record_images (sha256);

-- How far each channel was read.
CREATE TABLE cursors (
    channel TEXT PRIMARY KEY,
    number BIGINT NOT NULL
);
