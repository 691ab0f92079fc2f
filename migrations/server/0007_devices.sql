-- Which device keys belong to whom: projected from the device-binding documents, as are the requests of kind 'key'.
CREATE TABLE devices (
    tenant_id TEXT NOT NULL,
    device_key BLOB NOT NULL,
    -- A key has one owner for ever, so that what it signed stays attributable.
    user_id TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('bound', 'revoked')),
    level TEXT NOT NULL CHECK (level IN ('software', 'hardware')),
    platform TEXT NOT NULL,
    model TEXT,
    legacy_id_hash BLOB,
    sealed_code_key BLOB,
    bound_at BIGINT NOT NULL,
    bound_by TEXT NOT NULL,
    revoked_at BIGINT,
    revoked_by TEXT,
    revoke_reason TEXT,
    -- When two changes of this key with one place in a chain were first seen.
    forked_at BIGINT,
    PRIMARY KEY (tenant_id, device_key)
);

CREATE INDEX devices_by_user ON devices (tenant_id, user_id, status);

-- Who asked for which device. A student's requests beside each other: a newer one supersedes what still waits.
CREATE TABLE device_requests (
    tenant_id TEXT NOT NULL,
    -- The request's change; for a legacy identifier, a hash of user and identifier.
    request_hash BLOB NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('key', 'legacy')),
    user_id TEXT NOT NULL,
    device_key BLOB,
    purpose TEXT NOT NULL CHECK (purpose IN ('bind', 'reset')),
    -- Where the key is kept; a legacy identifier has no key.
    level TEXT CHECK (level IN ('software', 'hardware')),
    platform TEXT NOT NULL,
    model TEXT,
    legacy_id_hash BLOB,
    sealed_code_key BLOB,
    status TEXT NOT NULL CHECK (status IN ('pending', 'approved', 'denied', 'superseded')),
    -- What an admin should know before deciding, or why a decision had no effect.
    note TEXT,
    created_at BIGINT NOT NULL,
    decided_at BIGINT,
    decided_by TEXT,
    reason TEXT,
    forked_at BIGINT,
    PRIMARY KEY (tenant_id, request_hash),
    CHECK ((kind = 'key') = (device_key IS NOT NULL AND level IS NOT NULL)),
    CHECK (kind = 'key' OR legacy_id_hash IS NOT NULL)
);

CREATE INDEX device_requests_by_status ON device_requests (tenant_id, status, created_at, request_hash);
CREATE INDEX device_requests_by_user ON device_requests (tenant_id, user_id, created_at);
CREATE INDEX device_requests_by_key ON device_requests (tenant_id, device_key) WHERE device_key IS NOT NULL;
CREATE INDEX device_requests_by_legacy_id ON device_requests (tenant_id, legacy_id_hash) WHERE kind = 'legacy';
