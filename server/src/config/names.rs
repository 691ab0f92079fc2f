//! Names of the environment that are not ours: what each means here. One table, from which settings are read, and from
//! which the help, `.env.example` and `muster config check` tell.

/// A name of a system that Muster replaces.
pub(super) struct Other {
    /// The name.
    pub(super) name: &'static str,
    /// What it means here.
    pub(super) meaning: Meaning,
}

/// What a name of another system means.
pub(super) enum Meaning {
    /// Another spelling of our setting.
    Is(&'static str),
    /// It says something about our setting in its own words.
    Says(&'static str, fn(&str) -> Says),
    /// Only what holds anyway may be said; anything else is refused with this sentence.
    Only(fn(&str) -> bool, &'static str),
    /// It changes nothing, and this is why.
    Nothing(&'static str),
}

/// What a value of such a name says.
pub(super) enum Says {
    /// Our setting's value.
    Value(&'static str),
    /// The same, where nobody says it in our words.
    Unless(&'static str),
    /// What holds anyway.
    AsItIs,
    /// Nothing that anybody could read.
    Unreadable,
}

/// Every such name.
pub(super) const OTHERS: &[Other] = &[
    is("SECRET_KEY", "JWT_SECRET"),
    is("ALGORITHM", "JWT_ALG"),
    is("JWT_ALGORITHM", "JWT_ALG"),
    is("ENVIRONMENT", "ENV"),
    is("CORS_ALLOW_ORIGINS", "CORS_ORIGINS"),
    is("CORS_ALLOWED_ORIGINS", "CORS_ORIGINS"),
    is("ALLOWED_ORIGINS", "CORS_ORIGINS"),
    is("CORS_CREDENTIALS", "CORS_ALLOW_CREDENTIALS"),
    is("ALLOW_CREDENTIALS", "CORS_ALLOW_CREDENTIALS"),
    is("SMTP_SERVER", "SMTP_HOST"),
    is("SMTP_USER", "SMTP_USERNAME"),
    is("SMTP_PASS", "SMTP_PASSWORD"),
    is("SMTP_FROM", "MAIL_FROM"),
    is("EMAIL_FROM", "MAIL_FROM"),
    is("LOG_FILE_PATH", "LOG_FILE"),
    is("S3_ENDPOINT_URL", "S3_ENDPOINT"),
    is("S3_BUCKET_NAME", "S3_BUCKET"),
    is("SLOW_QUERY_THRESHOLD_MS", "DB_SLOW_QUERY_MS"),
    is("DATABASE_POOL_SIZE", "DB_POOL_SIZE"),
    is("DATABASE_MAX_OVERFLOW", "DB_MAX_OVERFLOW"),
    is("DATABASE_POOL_TIMEOUT", "DB_POOL_TIMEOUT"),
    is("DATABASE_POOL_RECYCLE", "DB_POOL_RECYCLE"),
    is("WEB_CONCURRENCY", "WORKERS"),
    // What else people keep under this name is for other programs.
    says("DEBUG", "LOG_LEVEL", |value| match boolean(value) {
        Some(true) => Says::Unless("debug"),
        _ => Says::AsItIs,
    }),
    says("DB_ECHO", "DB_SLOW_QUERY_MS", |value| yes_or_no(value, Says::Value("0"), Says::AsItIs)),
    says("DATABASE_ECHO", "DB_SLOW_QUERY_MS", |value| yes_or_no(value, Says::Value("0"), Says::AsItIs)),
    says("ENABLE_EMAIL", "MAIL_TRANSPORT", |value| yes_or_no(value, Says::Value("smtp"), Says::Value("file"))),
    says("SMTP_USE_TLS", "SMTP_TLS", |value| yes_or_no(value, Says::Unless("starttls"), Says::Value("none"))),
    only("CORS_METHODS", is_all, CORS),
    only("CORS_ALLOW_METHODS", is_all, CORS),
    only("CORS_HEADERS", is_all, CORS),
    only("CORS_ALLOW_HEADERS", is_all, CORS),
    nothing(
        "BCRYPT_ROUNDS",
        "new passwords are hashed with Argon2id; bcrypt hashes are only verified, and then replaced",
    ),
    nothing("CELERY_BROKER_URL", JOBS),
    nothing("CELERY_RESULT_BACKEND", JOBS),
    nothing("REDIS_ENABLED", "limits and jobs are kept in the database and caches in memory, and nothing in a Redis"),
    nothing("JWT_PUBLIC_KEY_LOCATION", "no effect yet: tokens of exams that somebody else signs come with exams"),
];

const JOBS: &str = "jobs are rows of the database, and the servers of that database work on them";
const CORS: &str = "what other origins may send is what our own operations take, neither more nor less; remove it, or \
    say *";

const fn is(name: &'static str, ours: &'static str) -> Other {
    Other { name, meaning: Meaning::Is(ours) }
}

const fn says(name: &'static str, ours: &'static str, read: fn(&str) -> Says) -> Other {
    Other { name, meaning: Meaning::Says(ours, read) }
}

const fn only(name: &'static str, holds: fn(&str) -> bool, refusal: &'static str) -> Other {
    Other { name, meaning: Meaning::Only(holds, refusal) }
}

const fn nothing(name: &'static str, why: &'static str) -> Other {
    Other { name, meaning: Meaning::Nothing(why) }
}

/// Python, YAML and shells have their own words for yes and no.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn yes_or_no(value: &str, yes: Says, no: Says) -> Says {
    match boolean(value) {
        Some(true) => yes,
        Some(false) => no,
        None => Says::Unreadable,
    }
}

/// A list that leaves nothing out, as one word or as JSON.
fn is_all(value: &str) -> bool {
    matches!(value.trim(), "*" | "[\"*\"]" | "['*']")
}

impl Other {
    /// Our setting, if it is about one.
    pub(super) fn ours(&self) -> Option<&'static str> {
        match self.meaning {
            Meaning::Is(ours) | Meaning::Says(ours, _) => Some(ours),
            Meaning::Only(..) | Meaning::Nothing(_) => None,
        }
    }

    /// What the example says about a name that is about no setting of ours.
    pub(super) fn sentence(&self) -> Option<&'static str> {
        match self.meaning {
            Meaning::Only(_, why) | Meaning::Nothing(why) => Some(why),
            Meaning::Is(_) | Meaning::Says(..) => None,
        }
    }
}

/// The other names of one of our settings.
pub(super) fn of(ours: &str) -> impl Iterator<Item = &'static Other> {
    OTHERS.iter().filter(move |other| other.ours() == Some(ours))
}
