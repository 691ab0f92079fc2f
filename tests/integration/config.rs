//! Settings: the names of every source, where they come from, what is wrong with them, and what nobody prints.

use std::process::{Command, Output};

use muster_server::config::{Config, Environment, LogFormat, Origin, Origins, Report, Sources};

const RANDOM: &str = "8f0aa1c6d2b94e57931c60d7be2f4a85";
const PEPPER: &str = "c1d93b7f60e24a18b5d7720fa64e98c3";
pub(crate) const MFA_KEY: &str = "pq3Yw0m1kHqT9bJx5uVfZs2LrGd8NcAeQyXoKtWiB7E=";

/// What production needs.
const PROD: [(&str, &str); 7] = [
    ("ENV", "production"),
    ("DATABASE_URL", "postgresql://u:p@db.uni.example/muster"),
    ("SECRET_KEY", RANDOM),
    ("TOKEN_PEPPER", PEPPER),
    ("MFA_ENCRYPTION_KEY", MFA_KEY),
    ("PUBLIC_URL", "https://muster.uni.example"),
    ("MAIL_TRANSPORT", "file"),
];

pub(crate) fn config(pairs: &[(&str, &str)]) -> Config {
    Config::from_sources(&Sources::from_pairs(pairs.iter().copied()), []).unwrap()
}

pub(crate) fn report(pairs: &[(&str, &str)]) -> Report {
    Report::new(&Sources::from_pairs(pairs.iter().copied()), []).unwrap()
}

/// Production with some settings otherwise; an empty value takes one away.
fn prod_with<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = PROD.iter().copied().filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    kept.chain(changes.iter().copied()).collect()
}

#[test]
fn the_settings_of_the_first_source_are_understood() {
    let url = "postgresql://user:pass@host.neon.tech/database?sslmode=require";
    let secret = "your-secret-key-min-32-chars-change-in-production";
    let pairs = [("DATABASE_URL", url), ("JWT_SECRET", secret), ("BCRYPT_ROUNDS", "12"), ("DEBUG", "True")];
    let config = config(&pairs);
    assert_eq!(config.data.database_url.as_ref().unwrap().reveal(), url);
    assert_eq!(config.tokens.jwt_secret.as_ref().unwrap().reveal(), secret);
    assert_eq!(config.check(), Ok(()));
    let report = report(&pairs);
    let ignored: Vec<&str> = report.ignored.iter().map(|ignored| ignored.name).collect();
    assert_eq!(ignored, ["BCRYPT_ROUNDS"]);
    assert_eq!(config.data.log_level, "debug", "DEBUG says so where LOG_LEVEL says nothing");
    assert!(report.ignored[0].why.contains("Argon2id"));
}

#[test]
fn the_settings_of_the_second_source_are_understood() {
    let config = config(&[
        ("DATABASE_URL", "postgresql+psycopg2://user:pass@host:5432/dbname"),
        ("SECRET_KEY", RANDOM),
        ("ALGORITHM", "HS256"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "60"),
        ("STORAGE_BACKEND", "s3"),
        ("S3_BUCKET", "b"),
        ("S3_REGION", "eu-central-1"),
        ("S3_ACCESS_KEY", "k"),
        ("S3_SECRET_KEY", "s"),
        ("CORS_ALLOW_ORIGINS", "https://yourdomain.com"),
        ("CORS_ALLOW_CREDENTIALS", "true"),
        ("UPLOAD_MAX_IMAGE_MB", "5"),
        ("UPLOAD_ALLOWED_IMAGE_TYPES", "image/jpeg,image/png"),
    ]);
    assert_eq!(config.data.database_url.as_ref().unwrap().reveal(), "postgresql://user:pass@host:5432/dbname");
    assert_eq!(config.tokens.jwt_secret.as_ref().unwrap().reveal(), RANDOM);
    assert_eq!(config.tokens.access_token_expire_minutes, 60);
    assert_eq!(config.s3_region, "eu-central-1");
    assert_eq!(config.web.origins(), Ok(Origins::Exactly(vec!["https://yourdomain.com".to_owned()])));
    assert!(config.web.cors_allow_credentials);
    assert_eq!(config.check(), Ok(()));
}

#[test]
fn the_settings_of_the_third_source_are_understood() {
    let pairs = prod_with(&[
        ("DEBUG", "False"),
        ("HOST", "0.0.0.0"),
        ("PORT", "8000"),
        ("API_PREFIX", "/api/v1"),
        ("DATABASE_URL", "postgresql://user:pass@prod-db:5432/campus_automation"),
        ("CORS_ORIGINS", r#"["https://campus.edu"]"#),
        ("ALLOWED_ORIGINS", "https://campus.edu"),
        ("ENABLE_CACHING", "True"),
        ("ENABLE_BACKGROUND_TASKS", "True"),
        ("REDIS_URL", "redis://localhost:6379/0"),
        ("CACHE_TTL", "600"),
        ("CELERY_BROKER_URL", "redis://localhost:6379/1"),
        ("LOG_LEVEL", "INFO"),
    ]);
    let config = config(&pairs);
    assert_eq!(config.data.env, Environment::Prod);
    assert_eq!((config.host.as_str(), config.port), ("0.0.0.0", 8000));
    assert_eq!(config.web.origins(), Ok(Origins::Exactly(vec!["https://campus.edu".to_owned()])));
    assert_eq!(config.check(), Ok(()));
    let report = report(&pairs);
    assert_eq!((report.problems, report.unknown), (Vec::new(), Vec::new()));
    let ignored: Vec<&str> = report.ignored.iter().map(|ignored| ignored.name).collect();
    assert_eq!(ignored, ["CELERY_BROKER_URL"]);
    assert!(report.warnings.iter().any(|told| told.starts_with("REDIS_URL has no effect")), "{:?}", report.warnings);
    assert!(config.work.enable_caching && config.work.enable_background_tasks);
    assert_eq!(config.work.cache_ttl, 600);
}

#[test]
fn the_settings_of_the_fourth_source_are_understood() {
    let pairs = [
        ("ENV", "dev"),
        ("JWT_ALG", "HS256"),
        ("REFRESH_TOKEN_EXPIRE_DAYS", "14"),
        ("PASSWORD_RESET_EXPIRE_MINUTES", "30"),
        ("REDIS_ENABLED", "true"),
        ("REDIS_REQUIRED", "false"),
        ("CORS_ORIGINS", "http://localhost:3000,http://localhost:5173"),
        ("LOG_LEVEL", "WARNING"),
        ("SEED_DEMO_ACCOUNTS", "False"),
        ("RL_LOGIN_IP_LIMIT", "21"),
        ("RL_LOGIN_EMAIL_LIMIT", "11"),
        ("RL_SIGNUP_IP_LIMIT", "6"),
        ("RL_RESET_IP_LIMIT", "6"),
        ("RL_RESET_EMAIL_LIMIT", "4"),
        ("RL_REFRESH_USER_LIMIT", "61"),
        ("LOGIN_FAIL_EMAIL_THRESHOLD", "9"),
        ("LOGIN_FAIL_IP_THRESHOLD", "31"),
        ("EMAIL_LOCK_TTL", "901"),
        ("IP_LOCK_TTL", "901"),
        ("IP_LOCK_ESCALATION", "0"),
        ("IP_LOCK_MAX_TTL", "86401"),
        ("OAUTH_GOOGLE_CLIENT_ID", "g"),
        ("OAUTH_GOOGLE_CLIENT_SECRET", "gs"),
        ("OAUTH_GOOGLE_REDIRECT_URI", "https://x.example/g"),
        ("OAUTH_MICROSOFT_CLIENT_ID", "m"),
        ("OAUTH_MICROSOFT_CLIENT_SECRET", "ms"),
        ("OAUTH_MICROSOFT_REDIRECT_URI", "https://x.example/m"),
        ("OAUTH_STATE_TTL", "601"),
        ("OAUTH_NONCE_TTL", "601"),
        ("MFA_TOTP_ISSUER", "ExamPrepSite"),
        ("MFA_TOTP_PERIOD", "30"),
        ("MFA_TOTP_DIGITS", "6"),
        ("MFA_BACKUP_CODES_COUNT", "10"),
        ("MFA_TOKEN_EXPIRE_MINUTES", "5"),
        ("JWKS_CACHE_TTL_SECONDS", "3601"),
    ];
    let report = report(&pairs);
    assert_eq!(report.unknown, Vec::<String>::new());
    let settings = report.by_name();
    for (name, value) in pairs.iter().filter(|(name, _)| !name.starts_with("REDIS")) {
        let row = settings.get(name).unwrap_or_else(|| panic!("{name} is a setting"));
        assert_eq!(row.origin, Origin::Environment, "{name}");
        let expected = match *name {
            "LOG_LEVEL" => "warn",
            "SEED_DEMO_ACCOUNTS" | "IP_LOCK_ESCALATION" => "false",
            "OAUTH_GOOGLE_CLIENT_SECRET" | "OAUTH_MICROSOFT_CLIENT_SECRET" => "set (2 bytes)",
            _ => value,
        };
        assert_eq!(row.value.as_deref(), Some(expected), "{name}");
    }
}

#[test]
fn two_names_of_one_setting_may_agree_and_may_not_contradict() {
    let agree = [("SECRET_KEY", RANDOM), ("JWT_SECRET", RANDOM)];
    assert_eq!(report(&agree).problems, Vec::<String>::new());
    let contradict = [("SECRET_KEY", RANDOM), ("JWT_SECRET", PEPPER)];
    let problems = report(&contradict).problems;
    assert_eq!(problems, ["JWT_SECRET: JWT_SECRET and SECRET_KEY say different things; remove one of them"]);
    assert!(Config::from_sources(&Sources::from_pairs(contradict), []).unwrap_err().contains("SECRET_KEY"));
}

#[test]
fn an_argument_wins_over_the_environment_and_the_environment_over_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(".env");
    std::fs::write(&file, "PORT=1\nHOST='from.file'\nS3_REGION=file-1\nS3_BUCKET=\n# a comment\nexport MAIL_DIR=m\n")
        .unwrap();
    let sources = Sources::from_pairs([("PORT", "2"), ("HOST", "from.environment")]).behind(&file);
    let arguments = ["--port", "3"].map(str::to_owned);
    let config = Config::from_sources(&sources, arguments.clone()).unwrap();
    assert_eq!((config.port, config.host.as_str(), config.s3_region.as_str()), (3, "from.environment", "file-1"));
    assert_eq!(config.s3_bucket, None, "an empty value is none");
    let report = Report::new(&sources, arguments).unwrap();
    let settings = report.by_name();
    let origin = |name: &str| settings[name].origin.to_string();
    assert_eq!(origin("PORT"), "argument");
    assert_eq!(origin("HOST"), "environment");
    assert_eq!(origin("S3_REGION"), ".env");
    assert_eq!(origin("MAIL_DIR"), ".env");
    assert_eq!(origin("S3_BUCKET"), "default");
    let alias = report_of(&[("SECRET_KEY", RANDOM)], "JWT_SECRET");
    assert_eq!((alias.1.as_str(), alias.0.as_str()), ("alias SECRET_KEY", "set (32 bytes)"));
}

pub(crate) fn report_of(pairs: &[(&str, &str)], name: &str) -> (String, String) {
    let report = report(pairs);
    let settings = report.by_name();
    (settings[name].value.clone().unwrap(), settings[name].origin.to_string())
}

#[test]
fn a_file_that_cannot_be_read_stops_the_start_and_its_secrets_stay_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(".env");
    std::fs::write(&file, "PORT=1\nJWT_SECRET='canary-of-a-broken-file\n").unwrap();
    let error = Config::from_sources(&Sources::default().behind(&file), []).unwrap_err();
    assert!(error.starts_with(".env"), "{error}");
    assert!(!error.contains("canary"), "{error}");
}

#[test]
fn names_that_are_nearly_ours_are_told() {
    let report = report(&[
        ("RL_LOGIN_IP_LIMT", "1"),
        ("DATABSE_URL", "x"),
        ("SMTP_COLOUR", "blue"),
        ("OAUTH_GITHUB_CLIENT_ID", "x"),
        ("PATH", "/bin"),
        ("HOSTNAME", "machine"),
        ("RUST_LOG", "info"),
    ]);
    assert_eq!(
        report.unknown,
        [
            "DATABSE_URL is not known; did you mean DATABASE_URL?",
            "OAUTH_GITHUB_CLIENT_ID is not known",
            "RL_LOGIN_IP_LIMT is not known; did you mean RL_LOGIN_IP_LIMIT?",
            "SMTP_COLOUR is not known",
        ]
    );
}

#[test]
fn production_starts_with_what_it_needs_and_with_nothing_less() {
    assert_eq!(report(&PROD).problems, Vec::<String>::new());
    for (name, said) in [
        ("DATABASE_URL", "DATABASE_URL"),
        ("SECRET_KEY", "JWT_SECRET"),
        ("TOKEN_PEPPER", "TOKEN_PEPPER"),
        ("MFA_ENCRYPTION_KEY", "MFA_ENCRYPTION_KEY"),
    ] {
        let problems = report(&prod_with(&[(name, "")])).problems;
        assert_eq!(problems.len(), 1, "{name}: {problems:?}");
        assert!(problems[0].starts_with(said), "{problems:?}");
        let elsewhere = prod_with(&[(name, ""), ("ENV", "staging")]);
        assert_eq!(report(&elsewhere).problems, Vec::<String>::new(), "{name} is needed in production only");
    }
}

#[test]
fn each_danger_is_refused_in_production_and_its_twin_is_not() {
    let typed = "change-me-change-me-change-me-change-me";
    let dangers: [(&[(&str, &str)], &str); 8] = [
        (&[("TRUSTED_PROXIES", "0.0.0.0/0")], "TRUSTED_PROXIES"),
        (&[("SECRET_KEY", "short")], "JWT_SECRET"),
        (&[("SECRET_KEY", typed)], "JWT_SECRET"),
        (&[("TOKEN_PEPPER", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")], "TOKEN_PEPPER"),
        (&[("MFA_ENCRYPTION_KEY", "c2hvcnQ=")], "MFA_ENCRYPTION_KEY"),
        (&[("SEED_DEMO_ACCOUNTS", "true")], "SEED_DEMO_ACCOUNTS"),
        (&[("MAIL_TRANSPORT", "console")], "MAIL_TRANSPORT"),
        (&[("CORS_ORIGINS", "*"), ("CORS_ALLOW_CREDENTIALS", "true")], "CORS_ORIGINS"),
    ];
    for (danger, said) in dangers {
        let problems = report(&prod_with(danger)).problems;
        assert_eq!(problems.len(), 1, "{danger:?}: {problems:?}");
        assert!(problems[0].starts_with(said), "{problems:?}");
    }
    let twins: [&[(&str, &str)]; 6] = [
        &[("TRUSTED_PROXIES", "10.0.0.0/8")],
        &[("ENV", "dev"), ("SEED_DEMO_ACCOUNTS", "true")],
        &[("ENV", "dev"), ("MAIL_TRANSPORT", "console")],
        &[("ENV", "dev"), ("SECRET_KEY", typed)],
        &[("CORS_ORIGINS", "*"), ("CORS_ALLOW_CREDENTIALS", "false")],
        &[("CORS_ORIGINS", "https://a.example"), ("CORS_ALLOW_CREDENTIALS", "true")],
    ];
    for twin in twins {
        assert_eq!(report(&prod_with(twin)).problems, Vec::<String>::new(), "{twin:?}");
    }
    let staging = [("ENV", "staging"), ("SEED_DEMO_ACCOUNTS", "true")];
    assert!(report(&staging).problems[0].starts_with("SEED_DEMO_ACCOUNTS"));
}

#[test]
fn every_problem_is_told_at_once() {
    let problems = report(&[
        ("ENV", "prod"),
        ("PORT", "many"),
        ("LOG_LEVEL", "loud"),
        ("CORS_ORIGINS", "campus.edu"),
        ("TRUSTED_PROXIES", "10.0.0.0/64"),
        ("API_PREFIX", "no-slash"),
        ("UPLOAD_MAX_IMAGE_MB", "500"),
        ("MFA_TOTP_DIGITS", "9"),
        ("MFA_TOTP_PERIOD", "1"),
        ("RL_LOGIN_IP_LIMIT", "0"),
        ("EMAIL_LOCK_TTL", "0"),
        ("OAUTH_STATE_TTL", "1"),
        ("OAUTH_LINK_TTL", "1"),
    ])
    .problems
    .join("\n");
    for name in [
        "PORT: \"many\"",
        "LOG_LEVEL",
        "CORS_ORIGINS",
        "TRUSTED_PROXIES",
        "API_PREFIX",
        "UPLOAD_MAX_IMAGE_MB",
        "MFA_TOTP_DIGITS",
        "MFA_TOTP_PERIOD",
        "RL_LOGIN_IP_LIMIT",
        "EMAIL_LOCK_TTL",
        "OAUTH_STATE_TTL",
        "OAUTH_LINK_TTL",
        "DATABASE_URL",
        "JWT_SECRET",
        "TOKEN_PEPPER",
        "MFA_ENCRYPTION_KEY",
    ] {
        assert!(problems.contains(name), "{name} is not in\n{problems}");
    }
}

#[test]
fn logs_are_for_people_in_development_and_for_machines_elsewhere() {
    assert_eq!(config(&[]).data.log_format(), LogFormat::Text);
    assert_eq!(config(&[("ENV", "staging")]).data.log_format(), LogFormat::Json);
    assert_eq!(config(&[("ENV", "staging"), ("LOG_FORMAT", "TEXT")]).data.log_format(), LogFormat::Text);
}

#[test]
fn whatever_sounds_like_a_secret_is_one() {
    let open = ["MFA_TOKEN_EXPIRE_MINUTES", "ACCESS_TOKEN_EXPIRE_MINUTES", "REFRESH_TOKEN_EXPIRE_DAYS"];
    let lasts = ["PASSWORD_RESET_EXPIRE_MINUTES"];
    let long = "0123456789abcdef0123456789abcdef";
    for row in &report(&[]).settings {
        let name = row.name.as_str();
        let sounds = ["SECRET", "PASSWORD", "KEY", "TOKEN", "PEPPER"].iter().any(|word| name.contains(word));
        if sounds && !open.contains(&name) && !lasts.contains(&name) && !name.ends_with("_TTL") {
            let value = if name.contains("ENCRYPTION") || name == "MASTER_KEY" { MFA_KEY } else { long };
            assert_eq!(report_of(&[(name, value)], name).0, format!("set ({} bytes)", value.len()), "{name}");
        }
    }
}

#[test]
fn the_example_is_what_the_program_prints_and_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/.env.example");
    let kept = std::fs::read_to_string(file).unwrap();
    let printed = muster_server::config::example();
    assert!(kept == printed, "run `muster config example > server/.env.example`");
    let uncommented: String = kept
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| rest.starts_with(char::is_uppercase)).unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect();
    let copy = dir.path().join(".env");
    std::fs::write(&copy, uncommented).unwrap();
    let from_file = Report::new(&Sources::default().behind(&copy), []).unwrap();
    assert_eq!((&from_file.problems, &from_file.unknown), (&Vec::new(), &Vec::new()));
    let defaults = report(&[]);
    for (read, default) in from_file.settings.iter().zip(&defaults.settings) {
        assert_eq!(
            (&read.name, read.value.as_deref().unwrap_or("")),
            (&default.name, default.value.as_deref().unwrap_or(""))
        );
    }
}

/// The program with this environment and nothing else of ours, in an empty folder.
pub(crate) fn run(arguments: &[&str], pairs: &[(&str, &str)]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    command.env_clear().current_dir(dir.path()).args(arguments).envs(pairs.iter().copied()).output().unwrap()
}

#[test]
fn the_check_says_by_its_status_whether_the_server_would_start() {
    let canary = "canary-0b7e6d54f3a2918c7b6a5d4e3f2a1b0c";
    let secrets = [("SECRET_KEY", canary), ("SMTP_PASSWORD", canary), ("DATABASE_URL", "postgresql://u:canary-p@h/d")];
    let good = run(&["config", "check"], &secrets);
    let text = String::from_utf8(good.stdout).unwrap();
    assert!(good.status.success(), "{text}");
    assert!(text.contains("the server would start") && text.contains("alias SECRET_KEY"), "{text}");
    assert!(!text.contains("canary"), "{text}");
    let bad = run(&["config", "check", "--json", "--", "--port", "7"], &prod_with(&[("SECRET_KEY", "canary-short")]));
    let text = String::from_utf8(bad.stdout).unwrap();
    assert_eq!(bad.status.code(), Some(1), "{text}");
    assert!(!text.contains("canary"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(json["problems"][0].as_str().unwrap().starts_with("JWT_SECRET"), "{text}");
    let port = json["settings"].as_array().unwrap().iter().find(|row| row["name"] == "PORT").unwrap().clone();
    assert_eq!(port, serde_json::json!({"name": "PORT", "value": "7", "origin": "argument"}));
}

#[test]
fn a_server_that_must_not_start_says_everything_that_is_wrong() {
    let refused = run(&["serve"], &[("ENV", "production"), ("SECRET_KEY", "short")]);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success());
    for name in ["DATABASE_URL", "JWT_SECRET", "TOKEN_PEPPER", "MFA_ENCRYPTION_KEY"] {
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
    let unread = run(&["serve"], &[("PORT", "many")]);
    assert_eq!(unread.status.code(), Some(2));
    assert!(String::from_utf8(unread.stderr).unwrap().contains("PORT: \"many\""));
}
