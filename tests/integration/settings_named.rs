//! No name of a setting is taken in silence: it does something, or a sentence says why not. Those of the replaced systems,
//! and ours that mean nothing beside the others.

use std::sync::{Arc, Barrier};

use muster_server::config::{Capacity, MailTransport, SmtpTls};
use muster_server::db::{DbError, Tx};
use muster_tests::TestServer;
use muster_tests::lecture::{Lecture, picture};
use muster_tests::process::{ServerProcess, lines};
use serde_json::{Value, json};

use super::config::{config, report, report_of, run};
use super::tidy::rust_files;

/// A name of a replaced system with a value, and our setting with the value that it comes to.
const HEARD: [(&str, &str, &str, &str); 24] = [
    ("DEBUG", "True", "LOG_LEVEL", "debug"),
    ("DB_ECHO", "true", "DB_SLOW_QUERY_MS", "0"),
    ("DATABASE_ECHO", "1", "DB_SLOW_QUERY_MS", "0"),
    ("DB_POOL_SIZE", "5", "DB_POOL_SIZE", "5"),
    ("DATABASE_POOL_SIZE", "5", "DB_POOL_SIZE", "5"),
    ("DB_MAX_OVERFLOW", "10", "DB_MAX_OVERFLOW", "10"),
    ("DATABASE_MAX_OVERFLOW", "10", "DB_MAX_OVERFLOW", "10"),
    ("DB_POOL_TIMEOUT", "30", "DB_POOL_TIMEOUT", "30"),
    ("DB_POOL_RECYCLE", "3600", "DB_POOL_RECYCLE", "3600"),
    ("ENABLE_BACKGROUND_TASKS", "True", "ENABLE_BACKGROUND_TASKS", "true"),
    ("TASK_WORKERS", "5", "TASK_WORKERS", "5"),
    ("ENABLE_CACHING", "False", "ENABLE_CACHING", "false"),
    ("CACHE_TTL", "600", "CACHE_TTL", "600"),
    ("ENABLE_EMAIL", "no", "MAIL_TRANSPORT", "file"),
    ("SMTP_USE_TLS", "true", "SMTP_TLS", "starttls"),
    ("SMTP_USE_TLS", "false", "SMTP_TLS", "none"),
    ("WORKERS", "4", "WORKERS", "4"),
    ("WEB_CONCURRENCY", "4", "WORKERS", "4"),
    ("SECRET_KEY", "8f0aa1c6d2b94e57931c60d7be2f4a85", "JWT_SECRET", "set (32 bytes)"),
    ("ALGORITHM", "HS256", "JWT_ALG", "HS256"),
    ("ENVIRONMENT", "development", "ENV", "dev"),
    ("CORS_CREDENTIALS", "true", "CORS_ALLOW_CREDENTIALS", "true"),
    ("SMTP_SERVER", "mail.uni.example", "SMTP_HOST", "mail.uni.example"),
    ("SLOW_QUERY_THRESHOLD_MS", "50", "DB_SLOW_QUERY_MS", "50"),
];

/// A name that may say only what holds anyway: what it may say, and what it may not.
const HELD: [(&str, &str, &str); 4] = [
    ("CORS_METHODS", "[\"*\"]", "GET,POST"),
    ("CORS_ALLOW_METHODS", "*", "GET,POST"),
    ("CORS_HEADERS", "*", "[\"Authorization\"]"),
    ("CORS_ALLOW_HEADERS", "*", "Authorization"),
];

/// A name that changes nothing, and a word of the sentence that says so.
const NOTHING: [(&str, &str, &str); 5] = [
    ("BCRYPT_ROUNDS", "12", "Argon2id"),
    ("CELERY_BROKER_URL", "redis://localhost:6379/1", "rows of the database"),
    ("CELERY_RESULT_BACKEND", "redis://localhost:6379/2", "rows of the database"),
    ("REDIS_ENABLED", "true", "nothing in a Redis"),
    ("JWT_PUBLIC_KEY_LOCATION", "/etc/key.pem", "no effect yet"),
];

#[test]
fn every_name_of_the_replaced_systems_does_something_or_says_why_not() {
    for (theirs, value, ours, comes_to) in HEARD {
        assert_eq!(report_of(&[(theirs, value)], ours).0, comes_to, "{theirs}={value}");
        assert_ne!(report_of(&[(theirs, value)], ours).1, "default", "{theirs}={value}");
    }
    for (name, holds, does_not) in HELD {
        let twin = run(&["config", "check"], &[(name, holds)]);
        assert!(twin.status.success(), "{name}={holds}: {}", String::from_utf8_lossy(&twin.stdout));
        let refused = run(&["config", "check"], &[(name, does_not)]);
        let text = String::from_utf8(refused.stdout).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{name}={does_not}: {text}");
        assert!(text.contains(&format!("WRONG: {name}: ")), "{text}");
        let start = run(&["serve"], &[(name, does_not)]);
        assert!(!start.status.success() && String::from_utf8_lossy(&start.stderr).contains(name), "{name}");
    }
    for (name, value, word) in NOTHING {
        let checked = run(&["config", "check"], &[(name, value)]);
        let text = String::from_utf8(checked.stdout).unwrap();
        let told = text.lines().find(|line| line.starts_with(&format!("ignored: {name}: ")));
        assert!(checked.status.success() && told.is_some_and(|line| line.contains(word)), "{text}");
    }
    // `.env.example` says all of it.
    let example = muster_server::config::example();
    let named = HEARD.iter().map(|row| row.0).chain(HELD.map(|row| row.0)).chain(NOTHING.map(|row| row.0));
    for name in named {
        let stands = example.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_').any(|word| word == name);
        assert!(stands, "{name} is not in .env.example");
    }
}

#[test]
fn a_name_in_other_words_gives_way_to_ours_and_says_so() {
    let both = report(&[("DEBUG", "true"), ("LOG_LEVEL", "warn")]);
    assert_eq!(both.by_name()["LOG_LEVEL"].value.as_deref(), Some("warn"));
    assert!(both.ignored.iter().any(|ignored| ignored.name == "DEBUG"), "{:?}", both.ignored);
    let contradict = report(&[("SMTP_USE_TLS", "false"), ("SMTP_TLS", "tls")]).problems;
    assert!(contradict[0].contains("SMTP_USE_TLS"), "{contradict:?}");
    let unread = report(&[("DB_ECHO", "perhaps")]).problems;
    assert!(unread[0].contains("DB_ECHO"), "{unread:?}");
    assert_eq!(report(&[("DEBUG", "express:*")]).problems, Vec::<String>::new(), "that is for another program");
    let mail = config(&[("ENABLE_EMAIL", "true"), ("SMTP_HOST", "mail.uni.example"), ("SMTP_USE_TLS", "true")]).mail;
    assert_eq!((mail.transport(), mail.smtp_tls), (MailTransport::Smtp, SmtpTls::Starttls));
    let nowhere = report(&[("ENABLE_EMAIL", "true")]).problems;
    assert!(nowhere[0].starts_with("SMTP_HOST"), "{nowhere:?}");
}

#[test]
fn a_setting_that_means_nothing_beside_the_others_is_told() {
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let alone = [
        ("S3_BUCKET", "b"),
        ("S3_SECRET_KEY", key),
        ("SMTP_PORT", "25"),
        ("LOG_FILE_MAX_MB", "20"),
        ("DB_POOL_RECYCLE", "60"),
        ("CORS_ALLOW_CREDENTIALS", "true"),
        ("RL_CAMPUS_FACTOR", "9"),
        ("DOCS_ENABLED", "true"),
        ("METRICS_NETWORKS", "10.0.0.0/8"),
        ("OAUTH_STATE_TTL", "300"),
        ("OAUTH_MICROSOFT_TENANT", "uni.example"),
    ];
    for setting in alone {
        let report = report(&[setting]);
        let told = |text: &String| text.starts_with(&format!("{} has no effect: ", setting.0));
        assert!(report.warnings.iter().any(told), "{setting:?}: {:?}", report.warnings);
        assert!(!report.warnings.iter().any(|text| text.contains(key)));
    }
    for together in [
        &[("LOG_FILE", "muster.log"), ("LOG_FILE_MAX_MB", "20")][..],
        &[("CORS_ORIGINS", "https://a.example"), ("CORS_ALLOW_CREDENTIALS", "true")],
        &[("CAMPUS_NETWORKS", "10.0.0.0/8"), ("RL_CAMPUS_FACTOR", "9")],
        &[("DATABASE_URL", "postgresql://u:p@h/d"), ("DB_POOL_RECYCLE", "60")],
        &[("ENV", "staging"), ("METRICS_NETWORKS", "10.0.0.0/8")],
        &[("S3_REGION", "us-east-1")],
    ] {
        assert_eq!(report(together).warnings, Vec::<String>::new(), "{together:?}");
    }
}

#[tokio::test]
async fn what_changes_nothing_is_said_at_the_start_and_threads_are_as_many_as_the_setting_says() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [
        ("REDIS_URL", "redis://localhost:1"),
        ("CELERY_BROKER_URL", "redis://localhost:1"),
        ("S3_BUCKET", "b"),
        ("WEB_CONCURRENCY", "3"),
    ];
    let server = ServerProcess::start(env!("CARGO_BIN_EXE_load"), dir.path(), &environment);
    let full: Value = reqwest::get(server.url("/health/full")).await.unwrap().json().await.unwrap();
    assert_eq!(full["components"]["threads"], 3, "{full}");
    drop(server);
    let log = std::fs::read_to_string(dir.path().join("console.log")).unwrap();
    let said: Vec<String> = lines(&log).iter().map(|line| line["message"].to_string()).collect();
    for name in ["CELERY_BROKER_URL is ignored", "REDIS_URL has no effect", "S3_BUCKET has no effect"] {
        assert!(said.iter().any(|line| line.contains(name)), "{name}: {said:?}");
    }
}

#[test]
fn the_database_has_as_many_readers_and_as_much_patience_as_the_settings_say() {
    let capacity = |pairs: &[(&str, &str)]| config(pairs).data.capacity();
    assert_eq!(capacity(&[]), Capacity::default());
    let set = capacity(&[("DB_POOL_SIZE", "20"), ("DB_MAX_OVERFLOW", "3"), ("DB_POOL_TIMEOUT", "7")]);
    assert_eq!((set.readers, set.queue_wait.as_secs(), set.connection_age_max), (23, 7, None));
    assert_eq!(capacity(&[("DB_POOL_RECYCLE", "60")]).connection_age_max.unwrap().as_secs(), 60);
    for wrong in [
        ("DB_POOL_SIZE", "0"),
        ("DB_POOL_SIZE", "65"),
        ("DB_MAX_OVERFLOW", "64"),
        ("DB_POOL_TIMEOUT", "0"),
        ("DB_POOL_TIMEOUT", "61"),
        ("DB_POOL_RECYCLE", "9"),
        ("WORKERS", "0"),
        ("WORKERS", "257"),
        ("TASK_WORKERS", "0"),
        ("TASK_WORKERS", "65"),
        ("CACHE_TTL", "0"),
        ("CACHE_TTL", "86401"),
        ("UPLOAD_MAX_IMAGE_MB", "0"),
        ("UPLOAD_MAX_IMAGE_MB", "21"),
    ] {
        let problems = report(&[wrong]).problems;
        assert!(problems.len() == 1 && problems[0].starts_with(wrong.0), "{wrong:?}: {problems:?}");
    }
    for right in [("DB_POOL_SIZE", "64"), ("DB_POOL_TIMEOUT", "60"), ("DB_POOL_RECYCLE", "-1"), ("WORKERS", "256")] {
        assert_eq!(report(&[right]).problems, Vec::<String>::new(), "{right:?}");
    }
}

#[tokio::test]
async fn five_reads_meet_where_five_connections_read() {
    let options = [("--db-pool-size", "4"), ("--db-max-overflow", "1")];
    let server = options.iter().fold(TestServer::builder(), |builder, (name, value)| builder.option(name, value));
    let server = server.start().await;
    let all_here = Arc::new(Barrier::new(5));
    let reads = (0..5).map(|_| {
        let all_here = Arc::clone(&all_here);
        server.app().db.read(move |_: &Tx<'_>| {
            all_here.wait();
            Ok::<_, DbError>(())
        })
    });
    assert!(futures_util::future::join_all(reads).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_server_keeps_in_memory_and_works_on_what_its_settings_say() {
    let health = async |server: &TestServer| {
        server.client("student").await.get("/api/v1/auth/me").await.expect(200);
        server.anonymous().get("/health/full").await.expect(200)["components"].clone()
    };
    let usual = health(&TestServer::start().await).await;
    assert_eq!((&usual["cache"]["enabled"], &usual["cache"]["backend"]), (&json!(true), &json!("memory")));
    assert!(usual["cache"]["entries"].as_u64().unwrap() > 0, "{usual}");
    assert!(usual["background_tasks"]["workers"].as_u64().unwrap() > 1, "{usual}");
    let without = TestServer::builder().option("--enable-caching", "false").option("--task-workers", "1");
    let without = health(&without.start().await).await;
    assert_eq!(without["cache"], json!({ "enabled": false, "backend": "none", "entries": 0 }));
    assert_eq!(without["background_tasks"]["workers"], 1);
    let idle = TestServer::builder().option("--enable-background-tasks", "false").try_start().await;
    match idle {
        Err(refused) => assert!(refused.to_string().starts_with("ENABLE_BACKGROUND_TASKS"), "{refused}"),
        Ok(server) => {
            assert!(!server.data().is_sqlite(), "nobody would work on the jobs of a file");
            let idle = health(&server).await;
            let tasks = &idle["background_tasks"];
            assert_eq!(
                (&tasks["enabled"], &tasks["workers"], &tasks["state"]),
                (&json!(false), &json!(0), &json!("off"))
            );
            assert_eq!(idle["scheduler"]["running"], false);
        }
    }
}

#[tokio::test]
async fn a_campus_may_ask_as_many_times_more_as_its_factor_says() {
    for (factor, allowed) in [("2", 4), ("3", 6)] {
        let options = [("--campus-networks", "127.0.0.0/8"), ("--rl-anonymous-ip-limit", "2")];
        let builder = TestServer::builder().manual_clock(1_763_640_000_000).option("--rl-campus-factor", factor);
        let builder = options.iter().fold(builder, |builder, (name, value)| builder.option(name, value));
        let server = builder.start().await;
        for _ in 0..allowed {
            server.anonymous().get("/openapi.json").await.expect(200);
        }
        server.anonymous().get("/openapi.json").await.expect_error(429, "RATE_LIMITED");
    }
}

#[tokio::test]
async fn a_record_waits_for_its_picture_as_long_as_the_setting_says() {
    let mut lecture = Lecture::on(TestServer::builder().option("--media-timeout-hours", "2")).await;
    let mut student = lecture.student(1).await;
    let record = lecture.capture(&mut student, &lecture.manifest(Some(&picture(1)))).await;
    let hour = std::time::Duration::from_secs(3_600);
    lecture.until(&record, |record| record["record"]["awaiting_media"] == true).await;
    lecture.later(2 * hour - std::time::Duration::from_secs(1)).await;
    assert_eq!(lecture.record(&record).await["record"]["awaiting_media"], true);
    lecture.later(std::time::Duration::from_secs(2)).await;
    lecture.server.app().wake_jobs();
    lecture.until(&record, |record| record["record"]["state"] == "flagged").await;
}

#[test]
fn every_setting_is_set_by_a_test_that_is_about_what_it_does() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("integration");
    let mut files = Vec::new();
    rust_files(&folder, &mut files);
    // These read settings, whatever they do.
    files.retain(|file| !file.ends_with("config.rs") && !file.ends_with("config_forms.rs"));
    let texts: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let mut unset = Vec::new();
    for row in report(&[]).settings {
        let option = format!("--{}", row.name.to_lowercase().replace('_', "-"));
        let names = [format!("\"{}\"", row.name), format!("\"{option}\"")];
        // Where the test's own server is built, or in what every test of sign-in at a provider sets.
        let elsewhere = ["HOST", "PORT", "DATA_DIR", "DATABASE_URL", "ENV", "LOG_LEVEL", "LOG_FORMAT"];
        let is_set = texts.iter().any(|text| names.iter().any(|name| text.contains(name)));
        if !is_set && !elsewhere.contains(&row.name.as_str()) && !in_units(&row.name) {
            unset.push(row.name);
        }
    }
    assert!(unset.is_empty(), "no test sets {unset:?}");
}

/// Settings whose effect tests beside the code look at, because it needs no server: the sizes of log files, danger taken
/// in words, the addresses of a provider that is not ours.
fn in_units(name: &str) -> bool {
    [
        "LOG_FILE_BACKUPS",
        "ALLOW_ASYNC_STANDBY",
        "ALLOW_UNSAFE_POSTGRES",
        "OAUTH_GOOGLE_REDIRECT_URI",
        "OAUTH_MICROSOFT_REDIRECT_URI",
        "MAIL_DIR",
        "S3_REGION",
    ]
    .contains(&name)
}
