-- Sessions of people who signed in. Refresh tokens are a chain per session: each is made from the one before, and only the
-- newest one's keyed hash is kept. An older one proves itself by leading to the newest.
CREATE TABLE auth_sessions (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    class TEXT NOT NULL CHECK (class IN ('phone', 'web')),
    method TEXT NOT NULL,
    -- The user's epoch at the sign-in: when the user has another one, the session has ended.
    epoch BIGINT NOT NULL,
    token_hash BLOB NOT NULL,
    -- How many tokens came before the newest one.
    generation BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    -- When the token before the newest one expires.
    parent_expires_at BIGINT,
    created_at BIGINT NOT NULL,
    -- When the newest access token was issued.
    access_at BIGINT NOT NULL,
    ended_at BIGINT,
    end_reason TEXT,
    -- Since when its access tokens are refused. One that ended for a newer sign-in lets them run out.
    revoked_at BIGINT
);

CREATE UNIQUE INDEX auth_sessions_active ON auth_sessions (tenant_id, user_id, class) WHERE ended_at IS NULL;
CREATE INDEX auth_sessions_by_user ON auth_sessions (tenant_id, user_id, ended_at);
CREATE INDEX auth_sessions_revoked ON auth_sessions (user_id, revoked_at) WHERE revoked_at IS NOT NULL;

-- How many tokens a user renewed within the present hour.
CREATE TABLE token_counts (
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    since BIGINT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);

-- Challenges that a device answered, until they expire. What nobody answered is not stored.
CREATE TABLE device_challenges (
    nonce BLOB PRIMARY KEY,
    expires_at BIGINT NOT NULL
);

CREATE INDEX device_challenges_by_time ON device_challenges (expires_at);
