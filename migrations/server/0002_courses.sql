-- Courses, who teaches them and who is enrolled.
CREATE TABLE courses (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    code TEXT NOT NULL,
    title TEXT NOT NULL,
    created_by TEXT NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL,
    UNIQUE (tenant_id, code)
);

CREATE TABLE course_lecturers (
    tenant_id TEXT NOT NULL,
    course_id TEXT NOT NULL REFERENCES courses (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    added_at BIGINT NOT NULL,
    PRIMARY KEY (course_id, user_id)
);

CREATE INDEX course_lecturers_by_user ON course_lecturers (user_id, course_id);

CREATE TABLE enrolments (
    tenant_id TEXT NOT NULL,
    course_id TEXT NOT NULL REFERENCES courses (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    enrolled_at BIGINT NOT NULL,
    PRIMARY KEY (course_id, user_id)
);

CREATE INDEX enrolments_by_user ON enrolments (user_id, course_id);
