-- How often somebody tried something within a window. Keys are keyed hashes: no address and no e-mail stands here.
-- Counters survive a restart, and a row goes when its window has passed.
CREATE TABLE rate_counters (
    key_hash BLOB NOT NULL,
    count BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    PRIMARY KEY (key_hash)
);

CREATE INDEX rate_counters_by_end ON rate_counters (ends_at);

-- Failed sign-ins of an account or of an address, counted before they are evaluated.
CREATE TABLE sign_in_failures (
    key_hash BLOB NOT NULL,
    failures BIGINT NOT NULL,
    -- When the failures are forgotten.
    counted_until BIGINT NOT NULL,
    -- Until when it waits; 0 when it does not.
    locked_until BIGINT NOT NULL,
    -- How often it had to wait lately: an address waits twice as long each time.
    locks BIGINT NOT NULL,
    -- When nothing of the row matters any more.
    ends_at BIGINT NOT NULL,
    PRIMARY KEY (key_hash)
);

CREATE INDEX sign_in_failures_by_end ON sign_in_failures (ends_at);
