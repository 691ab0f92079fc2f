-- The records of an institution, the newest first, for those who see more than their own.
CREATE INDEX records_newest ON records (tenant_id, (COALESCE(received_at, 0)) DESC, document_id DESC);
