-- Class sessions and attendance: projections of the change log, and what is kept beside it.
CREATE TABLE class_sessions (
    document_id BLOB PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    locator TEXT NOT NULL,
    course_id TEXT NOT NULL,
    -- The writer whose plan counts: the first one in the log.
    planned_by BLOB NOT NULL,
    -- The user for whom the server wrote the plan.
    by_user TEXT,
    opens_at BIGINT NOT NULL,
    closes_at BIGINT NOT NULL,
    late_after BIGINT,
    code_mode TEXT NOT NULL,
    step_s BIGINT NOT NULL,
    latitude_e7 BIGINT,
    longitude_e7 BIGINT,
    radius_m BIGINT,
    -- Plans for the same locator that came later and do not count.
    rival_plans BIGINT NOT NULL,
    -- The earliest end that somebody declared, and whether it is called `close` or `expire`.
    ended_at BIGINT,
    ended_as TEXT,
    -- The newest epoch of the code's secret.
    epoch BIGINT NOT NULL,
    log_index BIGINT NOT NULL,
    planned_at BIGINT NOT NULL
);

CREATE UNIQUE INDEX class_sessions_by_locator ON class_sessions (tenant_id, locator);
CREATE INDEX class_sessions_by_course ON class_sessions (tenant_id, course_id, opens_at);

-- Close, expire and regenerate, as they came. They may come before the plan.
CREATE TABLE class_session_changes (
    document_id BLOB NOT NULL,
    log_index BIGINT NOT NULL,
    action TEXT NOT NULL,
    at BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    PRIMARY KEY (document_id, log_index)
);

-- Titles are free text, so they stand beside the log and not in it.
CREATE TABLE class_session_titles (
    document_id BLOB PRIMARY KEY,
    title TEXT NOT NULL
);

-- One row per attendance document: what people list and filter.
CREATE TABLE records (
    document_id BLOB PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    locator TEXT NOT NULL,
    student_id TEXT NOT NULL,
    -- Unknown until the plan of the class session arrives.
    course_id TEXT,
    -- A function of everything below, by `sync_core::decision`; NULL while nothing says anything.
    state TEXT,
    awaiting_media BIGINT NOT NULL,
    risk BIGINT,
    -- What the verdict that counts flagged, each as check:reason between commas: `,geofence:outside,`.
    flags TEXT NOT NULL,
    submission_count BIGINT NOT NULL,
    -- 1 from an appeal until the next decision.
    appeal_open BIGINT NOT NULL,
    captured_at BIGINT,
    received_at BIGINT,
    decided_by TEXT,
    decided_at BIGINT,
    decision TEXT,
    decision_reason TEXT,
    updated_at BIGINT NOT NULL
);

CREATE UNIQUE INDEX records_by_session ON records (tenant_id, locator, student_id);
CREATE INDEX records_by_student ON records (tenant_id, student_id, document_id);
CREATE INDEX records_in_review ON records (tenant_id, updated_at) 
    WHERE state IN ('flagged', 'disputed', 'escalated') OR appeal_open = 1;

CREATE TABLE submissions (
    document_id BLOB NOT NULL,
    log_index BIGINT NOT NULL,
    hash BLOB NOT NULL,
    writer BLOB NOT NULL,
    source TEXT NOT NULL,
    captured_at BIGINT NOT NULL,
    code TEXT,
    step BIGINT,
    commitment BLOB NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (document_id, log_index)
);

CREATE TABLE verdicts (
    document_id BLOB NOT NULL,
    log_index BIGINT NOT NULL,
    hash BLOB NOT NULL,
    seq BIGINT NOT NULL,
    of_hash BLOB NOT NULL,
    outcome TEXT NOT NULL,
    risk BIGINT NOT NULL,
    flags TEXT NOT NULL,
    policy TEXT NOT NULL,
    model TEXT,
    -- The interval of the capture, if the verdict names it.
    not_before BIGINT,
    not_after BIGINT,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (document_id, log_index)
);

-- Decisions and marks: `kind` says which, `says` is the action or the status.
CREATE TABLE decisions (
    document_id BLOB NOT NULL,
    log_index BIGINT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('decision', 'mark')),
    hash BLOB NOT NULL,
    writer BLOB NOT NULL,
    of_hash BLOB,
    after_hashes BLOB NOT NULL,
    says TEXT NOT NULL,
    reason TEXT,
    rank BIGINT NOT NULL,
    by_user TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (document_id, log_index)
);

CREATE TABLE appeals (
    document_id BLOB NOT NULL,
    log_index BIGINT NOT NULL,
    hash BLOB NOT NULL,
    of_hash BLOB NOT NULL,
    reason TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (document_id, log_index)
);

-- What people wrote about a record; the document holds only its salted hash.
CREATE TABLE notes (
    entry_hash BLOB PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    document_id BLOB NOT NULL,
    salt BLOB NOT NULL,
    text TEXT NOT NULL
);

-- What online clients sent, so that the same request sent again finds its first answer.
CREATE TABLE gateway_submissions (
    tenant_id TEXT NOT NULL,
    student_id TEXT NOT NULL,
    request_key BLOB NOT NULL,
    content_hash BLOB NOT NULL,
    document_id BLOB NOT NULL,
    log_index BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, student_id, request_key)
);
