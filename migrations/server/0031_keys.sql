-- The id of every key with which a server started on this database. With another one it does not start: what was signed,
-- sealed or hashed under a key is worth nothing under another.
CREATE TABLE key_marks (
    name TEXT PRIMARY KEY,
    key_id TEXT NOT NULL,
    -- Whether a setting gave it, and no file.
    by_setting BIGINT NOT NULL CHECK (by_setting IN (0, 1)),
    since BIGINT NOT NULL
);
