-- What captures saw, sealed under a key per person: deleting that one row makes all of it unreadable.
CREATE TABLE subject_keys (
    tenant_id TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, subject_id)
);

-- Evidence manifests, by the person and the commitment that a signed submission carries: one person's copy of another
-- one's manifest is sealed under the own key and takes nobody's place.
CREATE TABLE manifests (
    tenant_id TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    commitment BLOB NOT NULL,
    sealed BLOB NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, subject_id, commitment)
);

-- Images that a manifest names; `stored_at` is NULL until the image has arrived.
CREATE TABLE images (
    tenant_id TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    -- The attendance document that waits for it; NULL for a reference photo.
    document_id BLOB,
    purpose TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    expected_at BIGINT NOT NULL,
    stored_at BIGINT,
    PRIMARY KEY (tenant_id, subject_id, sha256)
);

CREATE INDEX images_missing ON images (document_id) WHERE stored_at IS NULL;
CREATE INDEX images_missing_by_subject ON images (tenant_id, subject_id) WHERE stored_at IS NULL;
