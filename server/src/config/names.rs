//! Names of the environment that are not ours: other spellings of our settings, and settings that mean nothing here.

/// Another spelling, and the name that it stands for.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("SECRET_KEY", "JWT_SECRET"),
    ("ALGORITHM", "JWT_ALG"),
    ("JWT_ALGORITHM", "JWT_ALG"),
    ("ENVIRONMENT", "ENV"),
    ("CORS_ALLOW_ORIGINS", "CORS_ORIGINS"),
    ("CORS_ALLOWED_ORIGINS", "CORS_ORIGINS"),
    ("ALLOWED_ORIGINS", "CORS_ORIGINS"),
    ("CORS_CREDENTIALS", "CORS_ALLOW_CREDENTIALS"),
    ("SMTP_SERVER", "SMTP_HOST"),
    ("SMTP_USER", "SMTP_USERNAME"),
    ("SMTP_PASS", "SMTP_PASSWORD"),
    ("SMTP_FROM", "MAIL_FROM"),
    ("EMAIL_FROM", "MAIL_FROM"),
    ("LOG_FILE_PATH", "LOG_FILE"),
    ("S3_ENDPOINT_URL", "S3_ENDPOINT"),
    ("S3_BUCKET_NAME", "S3_BUCKET"),
    ("SLOW_QUERY_THRESHOLD_MS", "DB_SLOW_QUERY_MS"),
];

/// A name that is taken without effect, and why.
pub(super) const IGNORED: &[(&str, &str)] = &[
    ("BCRYPT_ROUNDS", "new passwords are hashed with Argon2id; bcrypt hashes are only verified, and then replaced"),
    ("DEBUG", "ENV says what is tolerated and LOG_LEVEL what is logged; replies never hold a stack trace"),
    ("DB_ECHO", "LOG_LEVEL says what is logged; statements over DB_SLOW_QUERY_MS are"),
    ("DATABASE_ECHO", "LOG_LEVEL says what is logged; statements over DB_SLOW_QUERY_MS are"),
    ("DB_POOL_SIZE", CONNECTIONS),
    ("DB_MAX_OVERFLOW", CONNECTIONS),
    ("DB_POOL_TIMEOUT", CONNECTIONS),
    ("DB_POOL_RECYCLE", CONNECTIONS),
    ("DATABASE_POOL_SIZE", CONNECTIONS),
    ("DATABASE_MAX_OVERFLOW", CONNECTIONS),
    ("CELERY_BROKER_URL", JOBS),
    ("CELERY_RESULT_BACKEND", JOBS),
    ("ENABLE_BACKGROUND_TASKS", JOBS),
    ("TASK_WORKERS", JOBS),
    ("REDIS_URL", REDIS),
    ("REDIS_ENABLED", REDIS),
    ("REDIS_REQUIRED", REDIS),
    ("ENABLE_CACHING", CACHE),
    ("CACHE_TTL", CACHE),
    ("ENABLE_EMAIL", "MAIL_TRANSPORT says whether mail leaves, and how"),
    ("SMTP_USE_TLS", "SMTP_TLS says how the connection is encrypted: none, starttls or tls"),
    ("CORS_METHODS", CORS),
    ("CORS_ALLOW_METHODS", CORS),
    ("CORS_HEADERS", CORS),
    ("CORS_ALLOW_HEADERS", CORS),
    ("JWT_PUBLIC_KEY_LOCATION", "tokens of exams that somebody else signs are not used yet"),
    ("WORKERS", "one process uses every core"),
    ("WEB_CONCURRENCY", "one process uses every core"),
];

const CONNECTIONS: &str = "the server keeps one connection that writes and one per core that reads";
const JOBS: &str = "jobs are rows of the database, and this process works on them";
const REDIS: &str = "limits and jobs are kept in the database and caches in memory; no Redis is needed, or asked";
const CACHE: &str = "caches are kept in memory, bounded, and end with what they hold";
const CORS: &str = "the methods and headers of our own routes are allowed, and no others";
