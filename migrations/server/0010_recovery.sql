-- Every row of the log carries a hash over itself and over the chain's value of the row before it; see
-- server/src/log/chain.rs. Rows that are older than this file get theirs when the server starts: that is the one
-- update that a row may see.
ALTER TABLE change_log ADD COLUMN chain BLOB;

DROP TRIGGER change_log_is_never_updated;

CREATE TRIGGER change_log_is_never_updated BEFORE UPDATE ON change_log
WHEN OLD.chain IS NOT NULL OR NEW.chain IS NULL
BEGIN
    SELECT RAISE(ABORT, 'the change log is append-only');
END;

-- Which life of the log this is. A log that lost its tail goes on in a new one. 0: its rows have no chain yet.
ALTER TABLE log_heads ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;

-- Every loss that was noticed, by the generation that began with it.
CREATE TABLE log_losses (
    tenant_id TEXT NOT NULL,
    generation BIGINT NOT NULL,
    -- The generation that lost its tail.
    lost_generation BIGINT NOT NULL,
    -- The newest index that the log had once, as far as somebody proved it.
    proven_index BIGINT NOT NULL,
    -- The newest index that was left, and the newest number of a channel before the new generation.
    kept_index BIGINT NOT NULL,
    kept_number BIGINT NOT NULL,
    noticed_by TEXT NOT NULL CHECK (noticed_by IN ('head_file', 'phone')),
    noticed_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, generation)
);
