-- By which identity of which provider somebody signs in. An identity is what the provider never gives to anybody else:
-- issuer and subject, or at Microsoft the issuer of the directory (which holds its tid) and the oid. Never an e-mail address.
CREATE TABLE oauth_identities (
    tenant_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- The name of the provider in our settings.
    provider TEXT NOT NULL,
    user_id TEXT NOT NULL,
    linked_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, issuer, subject)
) WITHOUT ROWID;

CREATE INDEX oauth_identities_by_user ON oauth_identities (tenant_id, user_id);

-- Sign-ins that came back. What began is in the browser's cookie, sealed; that it came back once is here until it expires.
CREATE TABLE oauth_used_states (
    state_hash BLOB PRIMARY KEY,
    expires_at BIGINT NOT NULL
) WITHOUT ROWID;

CREATE INDEX oauth_used_states_by_expiry ON oauth_used_states (expires_at);

-- What a browser carries from the callback to an app, which exchanges it for tokens once. One per user and class of client.
CREATE TABLE oauth_codes (
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    client TEXT NOT NULL CHECK (client IN ('phone', 'web')),
    code_hash BLOB NOT NULL UNIQUE,
    -- The user's; whatever ends tokens ends the code as well.
    epoch BIGINT NOT NULL,
    -- SHA-256 of what the app must show with the code, if it said so at the start.
    challenge TEXT,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, user_id, client)
) WITHOUT ROWID;

CREATE INDEX oauth_codes_by_expiry ON oauth_codes (expires_at);

-- An identity whose e-mail address belongs to an account that it is not linked to: whoever signs in to that account in
-- another way may link it with the token. One per user.
CREATE TABLE oauth_link_tokens (
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    token_hash BLOB NOT NULL UNIQUE,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    provider TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
) WITHOUT ROWID;

CREATE INDEX oauth_link_tokens_by_expiry ON oauth_link_tokens (expires_at);
