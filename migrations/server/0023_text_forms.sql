-- Texts have one form from now on: NFC, nothing that nobody sees, small letters where people sign in. What was stored before
-- is brought into it by a job, in steps; SQL knows too little of letters to do it.
INSERT INTO jobs (kind, tenant_id, subject, state, due_at, claim, attempts, first_due_at)
SELECT DISTINCT 'user_text_forms', tenant_id, CAST('' AS BLOB), 'pending', 0, 0, 0, 0
FROM users;

INSERT INTO jobs (kind, tenant_id, subject, state, due_at, claim, attempts, first_due_at)
SELECT DISTINCT 'course_text_forms', tenant_id, CAST('' AS BLOB), 'pending', 0, 0, 0, 0
FROM courses;
