-- Work that must happen after a commit. One row per (kind, tenant, subject), gone when the work is done.
CREATE TABLE jobs (
    kind TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    subject BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'dead')),
    -- Pending: when to run. Running: when the lease ends and somebody else may take it.
    due_at BIGINT NOT NULL,
    -- Running: when to run again, because it was asked for once more meanwhile.
    wanted_at BIGINT,
    -- Goes up with every claim, so that a worker that lost its lease cannot settle the next one's work.
    claim BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    last_error TEXT,
    -- When it was first asked for to run.
    first_due_at BIGINT NOT NULL,
    PRIMARY KEY (kind, tenant_id, subject)
) WITHOUT ROWID;

CREATE INDEX jobs_due ON jobs (kind, due_at) WHERE state <> 'dead';
