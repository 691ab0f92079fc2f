-- What a university's registry knows of a person. A user whose password_hash is empty has no password: they sign in through
-- a provider, or set one by mail.
ALTER TABLE users ADD COLUMN given_name TEXT;
ALTER TABLE users ADD COLUMN family_name TEXT;
-- The group in which a student is taught.
ALTER TABLE users ADD COLUMN section TEXT;
-- The id in the registry's own system.
ALTER TABLE users ADD COLUMN external_id TEXT;
-- When somebody proved that they read mail at the address.
ALTER TABLE users ADD COLUMN email_confirmed_at BIGINT;

CREATE UNIQUE INDEX users_by_external_id ON users (tenant_id, external_id);
