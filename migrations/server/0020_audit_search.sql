-- What an admin searches the audit log by, each with the order of the answer: the newest first.
CREATE INDEX audit_log_by_time ON audit_log (tenant_id, at, number);
CREATE INDEX audit_log_by_actor ON audit_log (tenant_id, actor_id, at, number);
CREATE INDEX audit_log_by_action ON audit_log (tenant_id, action, at, number);
CREATE INDEX audit_log_by_object ON audit_log (tenant_id, object_id, at, number);
CREATE INDEX audit_log_by_request ON audit_log (tenant_id, request_id, at, number);
