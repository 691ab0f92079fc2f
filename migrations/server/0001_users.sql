-- People who can sign in. E-mail and user name are stored in lower case.
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    email TEXT NOT NULL,
    username TEXT,
    display_name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('guest', 'student', 'lecturer', 'reviewer', 'staff', 'admin')),
    password_hash TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'disabled')),
    -- Goes up when the role, the status or the password changes: tokens of an older epoch are refused.
    epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (tenant_id, email),
    UNIQUE (tenant_id, username)
);

CREATE INDEX users_by_role ON users (tenant_id, role, id);
