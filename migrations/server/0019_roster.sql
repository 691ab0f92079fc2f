-- What a search looks through, in lower case: e-mail address, user name, name and the registry's id, a line each.
ALTER TABLE users ADD COLUMN search TEXT NOT NULL DEFAULT '';
UPDATE users SET search = lower(email || '
' || coalesce(username, '') || '
' || display_name || '
' || coalesce(external_id, ''));
-- Holds all that a filtered list decides on, so that rows are only fetched when they are shown.
CREATE INDEX users_by_search ON users (tenant_id, id, role, status, search);

-- The id of a class in the registry's own system.
ALTER TABLE courses ADD COLUMN external_id TEXT;
CREATE UNIQUE INDEX courses_by_external_id ON courses (tenant_id, external_id);
