-- Mail on its way out. A row goes away when its message was sent; one that was given up stays for admins, without its content.
CREATE TABLE mail_outbox (
    -- The Message-ID is made from it, so that a message that was sent twice is recognised.
    id BLOB PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    recipient TEXT NOT NULL,
    template TEXT NOT NULL,
    -- What the template needs, sealed where it holds a link; gone when the message was given up.
    content BLOB,
    state TEXT NOT NULL CHECK (state IN ('queued', 'failed')),
    attempts BIGINT NOT NULL,
    last_error TEXT,
    created_at BIGINT NOT NULL,
    -- When nobody needs the message any more.
    give_up_at BIGINT NOT NULL,
    failed_at BIGINT
);

CREATE INDEX mail_outbox_in_trouble ON mail_outbox (tenant_id, created_at) WHERE attempts > 0;
CREATE INDEX mail_outbox_failed ON mail_outbox (failed_at) WHERE state = 'failed';

-- What the links in mail prove: one of each purpose per user, so that a new link ends the one before. A row is gone when its
-- link was used. Only a hash under the pepper is kept.
CREATE TABLE mail_tokens (
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    purpose TEXT NOT NULL CHECK (purpose IN ('password_reset', 'confirm_email')),
    token_hash BLOB NOT NULL,
    -- The address to which the link went.
    email TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, user_id, purpose)
);

CREATE UNIQUE INDEX mail_tokens_by_hash ON mail_tokens (token_hash);
CREATE INDEX mail_tokens_by_end ON mail_tokens (expires_at);
