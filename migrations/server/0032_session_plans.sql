-- Every plan that a session's document has, and what admins settled. class_sessions shows the plan that stands; while
-- several people contest the session it belongs to no course, which is why nobody who teaches sees its records.
CREATE TABLE class_session_plans (
    document_id BLOB NOT NULL,
    log_index BIGINT NOT NULL,
    hash BLOB NOT NULL,
    -- The person who planned, or the key in hexadecimal while nobody knows whose it is.
    planner TEXT NOT NULL,
    course_id TEXT NOT NULL,
    planned_by BLOB NOT NULL,
    by_user TEXT,
    opens_at BIGINT NOT NULL,
    closes_at BIGINT NOT NULL,
    late_after BIGINT,
    code_mode TEXT NOT NULL,
    step_s BIGINT NOT NULL,
    latitude_e7 BIGINT,
    longitude_e7 BIGINT,
    radius_m BIGINT,
    planned_at BIGINT NOT NULL,
    PRIMARY KEY (document_id, log_index)
);

CREATE INDEX class_session_plans_by_planner ON class_session_plans (planner, document_id);

CREATE TABLE class_session_settlements (
    document_id BLOB NOT NULL,
    log_index BIGINT NOT NULL,
    hash BLOB NOT NULL,
    writer BLOB NOT NULL,
    by_user TEXT NOT NULL,
    plan_hash BLOB NOT NULL,
    after_hashes BLOB NOT NULL,
    PRIMARY KEY (document_id, log_index)
);

-- The plans that counted until now. Later ones of the same session are in the log: `muster rebuild` finds them.
INSERT INTO class_session_plans
    (document_id, log_index, hash, planner, course_id, planned_by, by_user, opens_at, closes_at, late_after, code_mode,
     step_s, latitude_e7, longitude_e7, radius_m, planned_at)
SELECT s.document_id, s.log_index, l.hash, COALESCE(s.by_user, d.user_id, ''), s.course_id, s.planned_by, s.by_user,
       s.opens_at, s.closes_at, s.late_after, s.code_mode, s.step_s, s.latitude_e7, s.longitude_e7, s.radius_m,
       s.planned_at
FROM class_sessions s
JOIN change_log l ON l.tenant_id = s.tenant_id AND l.log_index = s.log_index
LEFT JOIN devices d ON d.tenant_id = s.tenant_id AND d.device_key = s.planned_by;

ALTER TABLE class_sessions ADD COLUMN contested BIGINT NOT NULL DEFAULT 0;

-- For which course a session was closed, expired or given a new code: it counts if that course's plan stands.
ALTER TABLE class_session_changes ADD COLUMN course_id TEXT;

-- Who took it; unknown for those from before, which count on nobody's share.
ALTER TABLE class_session_changes ADD COLUMN by_user TEXT;

UPDATE class_session_changes
SET course_id = (SELECT s.course_id FROM class_sessions s WHERE s.document_id = class_session_changes.document_id);
