-- An image is everything that it is used for, at once: it goes when nothing uses it any more, and not before.
CREATE TABLE images_by_hash (
    tenant_id TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    -- As manifests say, the largest one: no more bytes are taken.
    size_bytes BIGINT NOT NULL,
    expected_at BIGINT NOT NULL,
    -- NULL until the image has arrived.
    stored_at BIGINT,
    PRIMARY KEY (tenant_id, subject_id, sha256)
);

INSERT INTO images_by_hash (tenant_id, subject_id, sha256, size_bytes, expected_at, stored_at)
SELECT tenant_id, subject_id, sha256, size_bytes, expected_at, stored_at
FROM images;

CREATE TABLE image_uses (
    tenant_id TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    -- evidence: a record's manifest names it. waiting: a change in quarantine does, which its student sent. later: the same,
    -- over the budget, so that it is not taken before the change is admitted. sending: it came with a request that is not
    -- answered yet. reference: the photo of a face. unread: from before this table, until the manifests were read again.
    used_as TEXT NOT NULL CHECK (used_as IN ('evidence', 'waiting', 'later', 'sending', 'reference', 'unread')),
    -- The record's document, the change, the request; for a reference the image itself.
    used_by BLOB NOT NULL,
    size_bytes BIGINT NOT NULL,
    noted_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, subject_id, sha256, used_as, used_by)
) WITHOUT ROWID;

INSERT INTO image_uses (tenant_id, subject_id, sha256, used_as, used_by, size_bytes, noted_at)
SELECT tenant_id, subject_id, sha256, 'unread', COALESCE(document_id, sha256), size_bytes, expected_at
FROM images;

-- Which of them are references is known; which records name them stands in sealed manifests, and a job reads these.
INSERT INTO image_uses (tenant_id, subject_id, sha256, used_as, used_by, size_bytes, noted_at)
SELECT i.tenant_id, i.subject_id, i.sha256, 'reference', i.sha256, i.size_bytes, r.enrolled_at
FROM images i
JOIN face_references r ON r.tenant_id = i.tenant_id AND r.user_id = i.subject_id AND r.image_sha256 = i.sha256;

INSERT INTO jobs (kind, tenant_id, subject, state, due_at, claim, attempts, first_due_at)
SELECT DISTINCT 'image-uses', tenant_id, CAST(subject_id AS BLOB), 'pending', 0, 0, 0, 0
FROM images;

DROP TABLE images;
ALTER TABLE images_by_hash RENAME TO images;
CREATE INDEX images_missing ON images (tenant_id, subject_id, sha256) WHERE stored_at IS NULL;
CREATE INDEX image_uses_by_change ON image_uses (used_by) WHERE used_as IN ('waiting', 'later');
CREATE INDEX image_uses_passing ON image_uses (tenant_id, subject_id, used_as)
    WHERE used_as IN ('waiting', 'later', 'sending', 'unread');

-- What belongs to a waiting change waits with it: its sealed manifest, and the images that this one names, in CBOR.
ALTER TABLE quarantine ADD COLUMN manifest BLOB;
ALTER TABLE quarantine ADD COLUMN images BLOB;
