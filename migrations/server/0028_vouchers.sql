-- On whose word it is believed that the address is the user's: 'mail', 'provider', 'admin', 'link', 'registry' or 'staff'.
-- Without one it is nobody's.
ALTER TABLE users ADD COLUMN email_confirmed_by TEXT;
-- Since when the address is somebody else's, who proved that it is theirs; until an admin gives the account another one, what
-- stands in email is no address.
ALTER TABLE users ADD COLUMN email_lost_at BIGINT;
-- On whose word the registry's id is the user's.
ALTER TABLE users ADD COLUMN external_id_by TEXT;
-- Whether confirming the address makes a student of this guest: only of one who signed up and waits for just that.
ALTER TABLE users ADD COLUMN waits_for_confirmation BIGINT NOT NULL DEFAULT 0;

UPDATE users SET email_confirmed_by = 'link' WHERE email_confirmed_at IS NOT NULL;

UPDATE users SET waits_for_confirmation = 1
WHERE role = 'guest' AND email_confirmed_at IS NULL
  AND EXISTS (SELECT 1 FROM audit_log a
              WHERE a.tenant_id = users.tenant_id AND a.object_id = users.id AND a.action = 'auth.sign_up'
                AND a.actor_id = 'anonymous' AND a.result = 'created')
  AND NOT EXISTS (SELECT 1 FROM audit_log a
                  WHERE a.tenant_id = users.tenant_id AND a.object_id = users.id AND a.action = 'user.role');

-- Whoever did not sign up was made by the office, or by the registry, which writes no row for each.
UPDATE users
SET email_confirmed_at = created_at,
    email_confirmed_by = CASE
        WHEN EXISTS (SELECT 1 FROM audit_log a
                     WHERE a.tenant_id = users.tenant_id AND a.object_id = users.id AND a.action = 'user.create'
                       AND a.actor_role = 'staff') THEN 'staff'
        WHEN EXISTS (SELECT 1 FROM audit_log a
                     WHERE a.tenant_id = users.tenant_id AND a.object_id = users.id
                       AND a.action IN ('user.create', 'auth.sign_up')) THEN 'admin'
        ELSE 'registry' END
WHERE email_confirmed_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM audit_log a
                  WHERE a.tenant_id = users.tenant_id AND a.object_id = users.id AND a.action = 'auth.sign_up'
                    AND a.actor_id = 'anonymous' AND a.result = 'created');

UPDATE users
SET external_id_by = CASE
    WHEN EXISTS (SELECT 1 FROM audit_log a
                 WHERE a.tenant_id = users.tenant_id AND a.object_id = users.id
                   AND a.action IN ('user.create', 'user.update') AND a.actor_role = 'staff') THEN 'staff'
    ELSE 'registry' END
WHERE external_id IS NOT NULL;
