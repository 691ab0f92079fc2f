-- The second factor of a user: the secret that their authenticator app holds too. One per user.
CREATE TABLE mfa_enrolments (
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    -- Tells this enrolment from the one that it replaced.
    id TEXT NOT NULL,
    -- Sealed for this user and this enrolment, under the key with this id.
    key_id BLOB NOT NULL,
    secret BLOB NOT NULL,
    -- As they were when the app got the secret: it never learns of later settings.
    period_s BIGINT NOT NULL,
    digits BIGINT NOT NULL,
    -- The newest time step whose code was accepted. No code of it, or of one before it, is accepted again.
    last_step BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    -- NULL until a code of the app came back. Until then nothing asks for codes.
    confirmed_at BIGINT,
    PRIMARY KEY (tenant_id, user_id)
);

-- Codes for the day on which the app is lost. Each opens once.
CREATE TABLE mfa_backup_codes (
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    -- A keyed hash: without the server's pepper, nobody can try codes on a copy of this table.
    code_hash BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT,
    PRIMARY KEY (tenant_id, user_id, code_hash)
);

-- Wrong codes of the last minutes, one row each.
CREATE TABLE mfa_failures (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    at BIGINT NOT NULL
);

CREATE INDEX mfa_failures_by_user ON mfa_failures (tenant_id, user_id, at);

-- Sign-ins that were completed with a code: their tokens complete nothing more.
CREATE TABLE mfa_tokens_used (
    jti TEXT PRIMARY KEY,
    expires_at BIGINT NOT NULL
);

CREATE INDEX mfa_tokens_used_by_end ON mfa_tokens_used (expires_at);
