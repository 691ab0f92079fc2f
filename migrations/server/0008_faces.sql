-- Settings that an admin changes while the server runs; a setting without a row has its default.
CREATE TABLE tenant_settings (
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    changed_by TEXT NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

-- The one live reference of a person. The template is sealed under the person's key and bound to `model`.
CREATE TABLE face_references (
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    reference_id TEXT NOT NULL,
    image_sha256 BLOB NOT NULL,
    model TEXT NOT NULL,
    sealed_template BLOB NOT NULL,
    enrolled_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);

-- Who had a reference and may have another face only with a person's approval.
CREATE TABLE face_reenrolments (
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('withdrawn', 'pending', 'approved')),
    changed_at BIGINT NOT NULL,
    decided_by TEXT,
    PRIMARY KEY (tenant_id, user_id)
);

CREATE INDEX face_reenrolments_by_status ON face_reenrolments (tenant_id, status, user_id);

-- Every attempt to compare a selfie with a reference; also what a second look at the same selfie reads.
CREATE TABLE face_verifications (
    tenant_id TEXT NOT NULL,
    submission_hash BLOB NOT NULL,
    -- Empty when the attempt did not get as far as a reference.
    reference_id TEXT NOT NULL,
    -- Empty when no models are loaded.
    model TEXT NOT NULL,
    user_id TEXT NOT NULL,
    document_id BLOB NOT NULL,
    outcome TEXT NOT NULL,
    faces BIGINT,
    usable_faces BIGINT,
    -- Millionths, so that both databases and the verdict have the very same number.
    distance_e6 BIGINT,
    threshold_e6 BIGINT,
    attempted_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, submission_hash, reference_id, model)
);

CREATE INDEX face_verifications_by_user ON face_verifications (tenant_id, user_id, attempted_at);
