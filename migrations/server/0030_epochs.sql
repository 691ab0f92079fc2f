-- Servers before this one could write an epoch that their own schema, and so every phone, refuses. The log keeps that
-- entry; what is computed from the log leaves it out, as phones do.
DELETE FROM class_session_changes
WHERE epoch > 4294967295;

UPDATE class_sessions
SET epoch = COALESCE((SELECT MAX(c.epoch)
                      FROM class_session_changes c
                      WHERE c.document_id = class_sessions.document_id AND c.action = 'regenerate'), 0)
WHERE epoch > 4294967295;
