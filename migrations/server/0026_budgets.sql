-- What a person has used up on a day (days since 1970, UTC). Yesterday's rows go when the person comes back.
CREATE TABLE person_days (
    tenant_id TEXT NOT NULL,
    person_id TEXT NOT NULL,
    day BIGINT NOT NULL,
    -- Rows of the log that they wrote, and the bytes of these.
    log_rows BIGINT NOT NULL,
    log_bytes BIGINT NOT NULL,
    -- Changes that came to wait in quarantine on their account, with what waits beside them.
    waiting_rows BIGINT NOT NULL,
    waiting_bytes BIGINT NOT NULL,
    -- Pictures that were stored for them.
    images BIGINT NOT NULL,
    image_bytes BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, person_id, day)
) WITHOUT ROWID;

-- Whose budget a waiting change uses: the owner of the key that wrote it, if that is bound, or else who sent it. And about
-- whom it is: the student or the user whose document it belongs to, or nobody.
ALTER TABLE quarantine ADD COLUMN payer_id TEXT NOT NULL DEFAULT '';
ALTER TABLE quarantine ADD COLUMN subject_id TEXT NOT NULL DEFAULT '';
ALTER TABLE quarantine ADD COLUMN size_bytes BIGINT NOT NULL DEFAULT 0;

UPDATE quarantine
SET payer_id = sender_id,
    subject_id = CASE kind WHEN 2 THEN key2 WHEN 3 THEN key1 ELSE '' END,
    size_bytes = length(change);

CREATE INDEX quarantine_by_payer ON quarantine (tenant_id, payer_id, subject_id, size_bytes) WHERE state = 'waiting';
CREATE INDEX quarantine_by_subject ON quarantine (tenant_id, subject_id, payer_id) WHERE state = 'waiting';
