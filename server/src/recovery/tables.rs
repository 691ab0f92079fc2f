//! Which tables are projections of the log, and which of their columns. Everything else is not made again.
//!
//! **Projections**, made again from the log alone (and from today's roles of users, on which a binding depends):
//! `channel_entries`, `class_sessions`, `class_session_plans`, `class_session_settlements`, `class_session_changes`, `records`, `submissions`, `verdicts`, `decisions`,
//! `appeals`, `devices`, and the rows of kind `key` in `device_requests`.
//!
//! **Columns in them that are not**, and that a rebuild leaves as they are: `records.awaiting_media` and `updated_at` (a job
//! notes that an image is on its way), `devices.forked_at` and `device_requests.forked_at` (a rival change is evidence
//! outside of the log), `sealed_code_key` of both (a secret that came beside the request).
//!
//! **The log itself**: `change_log`, `documents` (an id is a hash, its name cannot be had back), `log_heads`, `log_losses`.
//!
//! **Neither**: accounts (`users`, the tables `mfa_...` and `oauth_...`, `courses`, `course_lecturers`, `enrolments`,
//! `past_enrolments`, `past_course_names`,
//! `tenant_settings`, `auth_sessions`, `device_challenges`), sealed evidence
//! (`subject_keys`, `manifests`, `images`), faces (`face_references`, `face_reenrolments`, `face_verifications`), what is
//! outside of the log on purpose (`quarantine`, `refusals`, `notes`, `class_session_titles`, `gateway_submissions`,
//! legacy rows of `device_requests`), work (`jobs`, `mail_outbox`, `mail_tokens`), the ids of
//! keys (`key_marks`), and `schema_migrations`.

/// A table that is a projection.
#[derive(Debug, Clone, Copy)]
pub struct Projection {
    /// Its name.
    pub table: &'static str,
    /// Its key.
    pub key: &'static [&'static str],
    /// The other columns that the log determines.
    pub columns: &'static [&'static str],
    /// Columns that it does not determine.
    pub kept: &'static [&'static str],
    /// Which rows are projections.
    pub rows: &'static str,
}

const fn projection(table: &'static str, key: &'static [&'static str], columns: &'static [&'static str]) -> Projection {
    Projection { table, key, columns, kept: &[], rows: "1 = 1" }
}

/// Every projection.
pub const PROJECTIONS: &[Projection] = &[
    projection("channel_entries", &["channel_key", "number"], &["log_index"]),
    projection(
        "class_sessions",
        &["document_id"],
        &[
            "tenant_id",
            "locator",
            "course_id",
            "planned_by",
            "by_user",
            "opens_at",
            "closes_at",
            "late_after",
            "code_mode",
            "step_s",
            "latitude_e7",
            "longitude_e7",
            "radius_m",
            "rival_plans",
            "ended_at",
            "ended_as",
            "epoch",
            "log_index",
            "planned_at",
            "contested",
        ],
    ),
    projection(
        "class_session_plans",
        &["document_id", "log_index"],
        &[
            "hash",
            "planner",
            "course_id",
            "planned_by",
            "by_user",
            "opens_at",
            "closes_at",
            "late_after",
            "code_mode",
            "step_s",
            "latitude_e7",
            "longitude_e7",
            "radius_m",
            "planned_at",
        ],
    ),
    projection(
        "class_session_settlements",
        &["document_id", "log_index"],
        &["hash", "writer", "by_user", "plan_hash", "after_hashes"],
    ),
    projection(
        "class_session_changes",
        &["document_id", "log_index"],
        &["action", "at", "epoch", "by_user", "course_id"],
    ),
    Projection {
        kept: &["awaiting_media", "updated_at"],
        ..projection(
            "records",
            &["document_id"],
            &[
                "tenant_id",
                "locator",
                "student_id",
                "course_id",
                "state",
                "risk",
                "flags",
                "submission_count",
                "appeal_open",
                "captured_at",
                "received_at",
                "decided_by",
                "decided_at",
                "decision",
                "decision_reason",
            ],
        )
    },
    projection(
        "submissions",
        &["document_id", "log_index"],
        &["hash", "writer", "source", "captured_at", "code", "step", "commitment", "received_at"],
    ),
    projection(
        "verdicts",
        &["document_id", "log_index"],
        &[
            "hash",
            "seq",
            "of_hash",
            "outcome",
            "risk",
            "flags",
            "policy",
            "model",
            "not_before",
            "not_after",
            "received_at",
        ],
    ),
    projection(
        "decisions",
        &["document_id", "log_index"],
        &["kind", "hash", "writer", "of_hash", "after_hashes", "says", "reason", "rank", "by_user", "received_at"],
    ),
    projection("appeals", &["document_id", "log_index"], &["hash", "of_hash", "reason", "received_at"]),
    Projection {
        kept: &["sealed_code_key", "forked_at"],
        ..projection(
            "devices",
            &["tenant_id", "device_key"],
            &[
                "user_id",
                "status",
                "level",
                "platform",
                "model",
                "legacy_id_hash",
                "bound_at",
                "bound_by",
                "revoked_at",
                "revoked_by",
                "revoke_reason",
            ],
        )
    },
    Projection {
        kept: &["sealed_code_key", "forked_at"],
        rows: "kind = 'key'",
        ..projection(
            "device_requests",
            &["tenant_id", "request_hash"],
            &[
                "kind",
                "user_id",
                "device_key",
                "purpose",
                "level",
                "platform",
                "model",
                "legacy_id_hash",
                "status",
                "note",
                "created_at",
                "decided_at",
                "decided_by",
                "reason",
            ],
        )
    },
];

/// Every table that is not made again.
pub const NOT_PROJECTIONS: &[&str] = &[
    "change_log",
    "documents",
    "log_heads",
    "log_losses",
    "users",
    "oauth_identities",
    "signed_out_devices",
    "oauth_used_states",
    "oauth_codes",
    "oauth_link_tokens",
    "courses",
    "course_lecturers",
    "enrolments",
    "past_enrolments",
    "past_course_names",
    "tenant_settings",
    "auth_sessions",
    "device_challenges",
    "subject_keys",
    "manifests",
    "images",
    "image_uses",
    "person_days",
    "face_references",
    "face_reenrolments",
    "face_verifications",
    "quarantine",
    "refusals",
    "rivals",
    "audit_heads",
    "audit_log",
    "notes",
    "class_session_titles",
    "gateway_submissions",
    "mfa_enrolments",
    "mfa_backup_codes",
    "mfa_tokens_used",
    "rate_counters",
    "sign_in_failures",
    "jobs",
    "mail_outbox",
    "mail_tokens",
    "key_marks",
    "schema_migrations",
];

impl Projection {
    /// Key, determined columns and kept columns, in this order.
    pub(super) fn all_columns(&self) -> impl Iterator<Item = &'static str> {
        self.key.iter().chain(self.columns).chain(self.kept).copied()
    }

    /// Columns that are compared.
    pub(super) fn compared(&self) -> usize {
        self.key.len() + self.columns.len()
    }
}
