-- Where a change stood in a log that the server lost, until it is known to be there again.
ALTER TABLE changes ADD COLUMN lost_index BIGINT;
ALTER TABLE changes ADD COLUMN lost_received_at_ms BIGINT;

CREATE INDEX changes_lost ON changes (lost_index) WHERE lost_index IS NOT NULL;

-- What the server does not have any more, own changes and pulled ones, in the order in which it had them.
CREATE TABLE resends (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    change_hash BLOB NOT NULL UNIQUE REFERENCES changes (hash) ON UPDATE CASCADE ON DELETE CASCADE
);

-- Server time at the upload, 0 if unknown. The bytes are kept for a while after it.
ALTER TABLE blobs ADD COLUMN uploaded_at_ms BIGINT;

CREATE INDEX blobs_kept ON blobs (uploaded_at_ms) WHERE state = 'uploaded';
CREATE INDEX outbox_manifests ON outbox (id) WHERE state = 'accepted' AND manifest IS NOT NULL;
