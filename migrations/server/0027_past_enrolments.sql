-- What is no longer so in a course: a session of the past has the students, and its course the name, of its own time.
CREATE TABLE past_enrolments (
    tenant_id TEXT NOT NULL,
    course_id TEXT NOT NULL REFERENCES courses (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    enrolled_at BIGINT NOT NULL,
    left_at BIGINT NOT NULL,
    PRIMARY KEY (course_id, user_id, enrolled_at)
) WITHOUT ROWID;

CREATE TABLE past_course_names (
    tenant_id TEXT NOT NULL,
    course_id TEXT NOT NULL REFERENCES courses (id),
    -- Until when the course had this name.
    until_at BIGINT NOT NULL,
    code TEXT NOT NULL,
    title TEXT NOT NULL,
    PRIMARY KEY (course_id, until_at)
);
