//! Settings of ours that change nothing beside the others: nobody should believe that they do.

use super::{Config, DatabaseUrl, Environment, MailTransport, Origins, StorageBackend};

/// Settings that change nothing while something holds.
struct Idle {
    names: &'static [&'static str],
    holds: fn(&Config) -> bool,
    why: &'static str,
}

const IDLE: &[Idle] = &[
    Idle {
        names: &["S3_BUCKET", "S3_REGION", "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY"],
        holds: |config| config.storage_backend == StorageBackend::Local,
        why: "images are kept in DATA_DIR; STORAGE_BACKEND=s3 uses the bucket",
    },
    Idle {
        names: &["SMTP_HOST", "SMTP_PORT", "SMTP_USERNAME", "SMTP_PASSWORD", "SMTP_TLS", "SMTP_CA_FILE"],
        holds: |config| config.mail.transport() != MailTransport::Smtp,
        why: "mail does not leave through a mail server; MAIL_TRANSPORT=smtp and SMTP_HOST make it",
    },
    Idle {
        names: &["MAIL_DIR"],
        holds: |config| config.mail.transport() != MailTransport::File,
        why: "mail does not go into a folder; MAIL_TRANSPORT=file makes it",
    },
    Idle {
        names: &["LOG_FILE_MAX_MB", "LOG_FILE_BACKUPS"],
        holds: |config| config.data.log_file.is_none(),
        why: "there is no LOG_FILE",
    },
    Idle {
        names: &["ALLOW_UNSAFE_POSTGRES", "ALLOW_ASYNC_STANDBY", "DB_POOL_RECYCLE"],
        holds: |config| matches!(config.data.database(), Ok(DatabaseUrl::Sqlite(_))),
        why: "it is about PostgreSQL, and the database is a SQLite file",
    },
    Idle {
        names: &["CORS_ALLOW_CREDENTIALS"],
        holds: |config| config.web.origins() == Ok(Origins::None),
        why: "no other origin may call; CORS_ORIGINS names those that may",
    },
    Idle {
        names: &["RL_CAMPUS_FACTOR"],
        holds: |config| config.web.campus_networks.trim().is_empty(),
        why: "no network is the campus; CAMPUS_NETWORKS names it",
    },
    Idle {
        names: &["DOCS_ENABLED"],
        holds: |config| config.data.env != Environment::Prod,
        why: "everybody sees the documentation unless ENV=prod",
    },
    Idle {
        names: &["METRICS_NETWORKS"],
        holds: |config| config.data.env == Environment::Dev,
        why: "anybody reads /metrics with ENV=dev",
    },
    Idle {
        names: &["IP_LOCK_MAX_TTL"],
        holds: |config| !config.rates.ip_lock_escalation,
        why: "waits do not grow with IP_LOCK_ESCALATION=false",
    },
    Idle {
        names: &["TASK_WORKERS"],
        holds: |config| !config.work.enable_background_tasks,
        why: "this server works on no jobs with ENABLE_BACKGROUND_TASKS=false",
    },
    Idle {
        names: &["REDIS_URL"],
        holds: |config| !config.redis.redis_required,
        why: "nothing is kept in a Redis; with REDIS_REQUIRED=true the server is ready only while it answers",
    },
    Idle {
        names: &["CACHE_TTL"],
        holds: |config| !config.work.enable_caching,
        why: "nothing is kept in memory with ENABLE_CACHING=false",
    },
    Idle {
        names: &["OAUTH_GOOGLE_REDIRECT_URI"],
        holds: |config| config.oauth.oauth_google_client_id.is_none(),
        why: "there is no OAUTH_GOOGLE_CLIENT_ID",
    },
    Idle {
        names: &["OAUTH_MICROSOFT_REDIRECT_URI", "OAUTH_MICROSOFT_TENANT"],
        holds: |config| config.oauth.oauth_microsoft_client_id.is_none(),
        why: "there is no OAUTH_MICROSOFT_CLIENT_ID",
    },
    Idle {
        names: &[
            "OAUTH_STATE_TTL",
            "OAUTH_NONCE_TTL",
            "OAUTH_LINK_TTL",
            "OAUTH_ALLOWED_REDIRECT_URIS",
            "JWKS_CACHE_TTL_SECONDS",
        ],
        holds: |config| !config.oauth.has_providers(),
        why: "nobody signs in through a provider; OAUTH_GOOGLE_CLIENT_ID, OAUTH_MICROSOFT_CLIENT_ID or \
              OAUTH_PROVIDERS_FILE names one",
    },
];

/// A sentence for each of these settings that changes nothing beside the others.
pub(super) fn sentences<'a>(config: &Config, set: impl Iterator<Item = &'a str>) -> Vec<String> {
    let why = |name: &str| IDLE.iter().find(|idle| idle.names.contains(&name) && (idle.holds)(config));
    set.filter_map(|name| why(name).map(|idle| format!("{name} has no effect: {}", idle.why))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Report;
    use crate::config::Sources;

    #[test]
    fn every_name_is_a_setting() {
        let report = Report::new(&Sources::default(), []).unwrap();
        let settings = report.by_name();
        for name in IDLE.iter().flat_map(|idle| idle.names) {
            assert!(settings.contains_key(name), "{name} is no setting");
        }
    }
}
