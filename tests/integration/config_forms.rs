//! Settings in the forms in which others write them, and what a check of them finds that only a start would notice.

use muster_server::config::{Config, Origins, Report, Sources};

use super::config::{MFA_KEY, config, report, report_of, run};

/// Names of settings and what they are set to.
type Settings<'a> = &'a [(&'a str, &'a str)];

#[test]
fn the_files_of_the_sources_are_read_line_by_line_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let lines = "\
        ENV=development\n\
        DEBUG=True\n\
        STORAGE_BACKEND=local  # or \"s3\"\n\
        DATABASE_URL=postgresql+psycopg2://user:pa$s@host:5432/dbname\n\
        CORS_ORIGINS=[\"https://campus.edu\", \"http://localhost:3000\"]\n\
        ALLOWED_ORIGINS=http://localhost:3000,https://campus.edu\n\
        SMTP_HOST=mail.campus.edu\n\
        SMTP_USER=muster\n\
        SMTP_PASSWORD=pa$word#1\n\
        export MAIL_DIR='a folder'\n\
        S3_REGION=${ENV}-1\n";
    std::fs::write(dir.path().join(".env"), lines).unwrap();
    let sources = Sources::default().behind(&dir.path().join(".env"));
    let report = Report::new(&sources, []).unwrap();
    assert_eq!((&report.problems, &report.unknown), (&Vec::new(), &Vec::new()));
    let config = Config::from_sources(&sources, []).unwrap();
    let both = ["https://campus.edu", "http://localhost:3000"].map(str::to_owned).to_vec();
    assert_eq!(config.web.origins(), Ok(Origins::Exactly(both)));
    assert_eq!(config.mail.smtp_password.as_ref().unwrap().reveal(), "pa$word#1");
    assert_eq!(config.data.database_url.as_ref().unwrap().reveal(), "postgresql://user:pa$s@host:5432/dbname");
    assert_eq!((config.mail.mail_dir.unwrap(), config.s3_region.as_str()), ("a folder".into(), "development-1"));
}

#[test]
fn lists_are_read_between_commas_and_as_json() {
    for (name, commas, json) in [
        ("TRUSTED_PROXIES", "10.0.0.0/8,192.0.2.7", r#"["10.0.0.0/8", "192.0.2.7"]"#),
        ("CAMPUS_NETWORKS", "10.0.0.0/8", r#"["10.0.0.0/8"]"#),
        ("METRICS_NETWORKS", "10.0.0.0/8", r#"["10.0.0.0/8"]"#),
        ("MFA_REQUIRED_ROLES", "ADMIN,Teacher", r#"["ADMIN","Teacher"]"#),
        ("UPLOAD_ALLOWED_IMAGE_TYPES", "image/png", r#"["image/png"]"#),
        ("OAUTH_ALLOWED_REDIRECT_URIS", "https://a.example/", r#"["https://a.example/"]"#),
    ] {
        for text in [commas, json] {
            assert_eq!(report(&[(name, text)]).problems, Vec::<String>::new(), "{name}={text}");
            assert_eq!(report_of(&[(name, text)], name).0, commas);
        }
    }
    let roles = config(&[("MFA_REQUIRED_ROLES", "[\"ADMIN\"]")]);
    assert_eq!(roles.mfa.required_roles().collect::<Vec<_>>(), ["ADMIN"]);
    let origins = config(&[("CORS_ORIGINS", "https://Campus.EDU")]).web.origins();
    assert_eq!(origins, Ok(Origins::Exactly(vec!["https://campus.edu".to_owned()])), "as a browser sends it");
    assert_eq!(report(&[("ALGORITHM", "hs256")]).problems, Vec::<String>::new());
    for wrong in [("UPLOAD_ALLOWED_IMAGE_TYPES", "image/webp"), ("TRUSTED_PROXIES", "[10.0.0.1")] {
        assert!(report(&[wrong]).problems[0].starts_with(wrong.0), "{wrong:?}");
    }
}

#[test]
fn the_check_finds_what_only_a_start_would_stumble_over() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a-file");
    std::fs::write(&file, "no authority, no provider, no folder").unwrap();
    let (file, folder) = (file.to_str().unwrap(), dir.path().to_str().unwrap());
    let below = format!("{file}/muster.log");
    let missing = format!("{folder}/missing");
    let google = [("OAUTH_GOOGLE_CLIENT_ID", "a"), ("OAUTH_GOOGLE_CLIENT_SECRET", "b")];
    let redirect = [google[0], google[1], ("OAUTH_GOOGLE_REDIRECT_URI", "https://muster.uni.example/callback")];
    let mail = ("SMTP_HOST", "localhost");
    let (certificate, logs) = (format!("{folder}/ca.pem"), format!("{folder}/logs/new/muster.log"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    // Each mistake, the setting that it is told about, and its twin that is none.
    let cases: [(Settings<'_>, &str, Settings<'_>); 11] = [
        (&[("MASTER_KEY", "abc")], "MASTER_KEY", &[("MASTER_KEY", MFA_KEY)]),
        (
            &[("DATABASE_URL", "postgresql://u:p@h/d?sslmode=prefer")],
            "DATABASE_URL",
            &[("DATABASE_URL", "postgresql://u:p@h/d?sslmode=require&channel_binding=require")],
        ),
        (&[("OAUTH_PROVIDERS_FILE", &missing)], "OAUTH_PROVIDERS_FILE", &[]),
        (&google, "PUBLIC_URL", &redirect),
        (
            &[("OAUTH_ALLOWED_REDIRECT_URIS", "nonsense")],
            "OAUTH_ALLOWED_REDIRECT_URIS",
            &[("OAUTH_ALLOWED_REDIRECT_URIS", r#"["https://a.example/cb", "app.example:/cb"]"#)],
        ),
        (&[mail, ("SMTP_CA_FILE", &missing)], "SMTP_CA_FILE", &[mail, ("SMTP_CA_FILE", &certificate)]),
        (&[("LOG_FILE", folder)], "LOG_FILE", &[("LOG_FILE", &logs)]),
        (&[("LOG_FILE", &below)], "LOG_FILE", &[]),
        (&[("DATA_DIR", file)], "DATA_DIR", &[("DATA_DIR", &missing)]),
        (&[("S3_ENDPOINT", "s3.uni.example")], "S3_ENDPOINT", &[("S3_ENDPOINT", "http://10.0.0.1:9000")]),
        (&[("HOST", "999.1.1.1")], "HOST", &[("HOST", "0.0.0.0")]),
    ];
    for (mistake, name, twin) in cases {
        let (bad, good) = (run(&["config", "check"], mistake), run(&["config", "check"], twin));
        let text = String::from_utf8(bad.stdout).unwrap();
        assert_eq!(bad.status.code(), Some(1), "{mistake:?}: {text}");
        let told: Vec<&str> = text.lines().filter(|line| line.starts_with("WRONG: ")).collect();
        assert!(told.len() == 1 && told[0].starts_with(&format!("WRONG: {name}")), "{mistake:?}: {told:?}");
        assert!(good.status.success(), "{twin:?}: {}", String::from_utf8_lossy(&good.stdout));
        assert!(!std::path::Path::new(&missing).exists(), "a check makes nothing");
    }
    let warned = run(&["config", "check"], &[("MODELS_DIR", &missing)]);
    assert!(warned.status.success());
    assert!(String::from_utf8(warned.stdout).unwrap().contains("warning: MODELS_DIR"));
}
