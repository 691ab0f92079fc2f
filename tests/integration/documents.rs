//! What the documents name is there: routes, settings, codes, constants and commands, in every one of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use muster_tests::TestServer;

use super::tidy::{documents, source};
use super::world::routes;

/// Every document's path and text.
fn texts() -> Vec<(String, String)> {
    let texts = documents().into_iter().map(|(path, _)| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.display().to_string(), text)
    });
    let texts: Vec<_> = texts.collect();
    assert!(texts.len() > 25, "only {} documents were found", texts.len());
    texts
}

/// What stands between back quotes on one line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// A path without the names of what stands in it.
fn bare(path: &str) -> String {
    let mut bare = String::new();
    for (index, part) in path.split(['{', '}']).enumerate() {
        bare.push_str(if index % 2 == 0 { part } else { "{}" });
    }
    bare.trim_end_matches('/').to_owned()
}

#[tokio::test]
async fn every_route_that_a_document_names_is_served() {
    let server = TestServer::start().await;
    let served: BTreeSet<(String, String)> =
        routes(&server).await.into_iter().map(|route| (route.method, bare(&route.path))).collect();
    let prefixes = ["", "/v1", "/api/v1"];
    let (mut missing, mut seen) = (Vec::new(), 0);
    for (document, text) in texts() {
        for name in quoted(&text) {
            let (method, path) = name.split_once(' ').map_or((None, name), |(method, path)| (Some(method), path));
            let is_method = method.is_none_or(|method| matches!(method, "GET" | "POST" | "PUT" | "PATCH" | "DELETE"));
            let path = path.split('?').next().unwrap();
            let is_path = path.starts_with('/')
                && path.len() > 1
                && path.chars().all(|sign| sign.is_ascii_alphanumeric() || "/-_.{}".contains(sign));
            if !is_path || !is_method {
                continue;
            }
            seen += 1;
            let fits = |route: &(String, String), path: &str| {
                method.is_none_or(|method| route.0 == method)
                    && (route.1 == path || method.is_none() && route.1.starts_with(&format!("{path}/")))
            };
            let is_served = prefixes.iter().any(|prefix| {
                let path = format!("{prefix}{}", bare(path));
                served.iter().any(|route| fits(route, &path))
            });
            if !is_served {
                missing.push(format!("{document}: {name}"));
            }
        }
    }
    assert!(seen > 40, "only {seen} were found");
    assert!(missing.is_empty(), "{missing:#?}");
}

/// All words of our programs, scripts, tables and settings.
fn words() -> BTreeSet<String> {
    fn walk(path: &Path, words: &mut BTreeSet<String>) {
        if path.is_dir() {
            for entry in std::fs::read_dir(path).unwrap() {
                walk(&entry.unwrap().path(), words);
            }
            return;
        }
        let kinds = ["rs", "sql", "py", "toml", "c", "example", "html", "js"];
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_none_or(|extension| kinds.contains(&extension))
            && let Ok(text) = std::fs::read_to_string(path)
        {
            let all = text.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
            words.extend(all.filter(|word| word.contains('_')).map(str::to_owned));
        }
    }
    let root = source().join("../..");
    let mut words = BTreeSet::new();
    let folders = ["server/src", "server/.env.example", "sync-core", "mobile-ffi", "models", "migrations", ".ci"];
    // Not this folder: a name that only a test knows is none of ours.
    for folder in folders {
        walk(&root.join(folder), &mut words);
    }
    words
}

#[test]
fn every_setting_code_table_and_field_that_a_document_names_is_known_to_a_program() {
    let known = words();
    // Of golden vectors, of Rust, of SQLite, of our own tests, and four digits.
    let others = ["bare_automerge", "set_var", "integrity_check", "UPDATE_DOCS", "NNNN_"];
    let (mut unknown, mut seen) = (Vec::new(), 0);
    for (document, text) in texts() {
        for name in quoted(&text) {
            let words = name.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
            for word in words.filter(|word| word.len() > 3 && word.contains('_') && !word.starts_with('_')) {
                seen += 1;
                // What ends with it stands for all that begin so, such as `RL_...`.
                let is_known = known.contains(word)
                    || word.ends_with('_') && known.iter().any(|known| known.starts_with(word))
                    || others.contains(&word);
                if !is_known && !is_test(word) {
                    unknown.push(format!("{document}: {word}"));
                }
            }
        }
    }
    assert!(seen > 300, "only {seen} were found");
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// A test, or a file of tests, of that name.
fn is_test(name: &str) -> bool {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("integration");
    let mut files = Vec::new();
    super::tidy::rust_files(&folder, &mut files);
    files.iter().any(|file| {
        file.file_stem().is_some_and(|stem| stem == name)
            || std::fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("fn {name}(")))
    })
}

#[test]
fn every_command_that_a_document_names_is_there_and_the_servers_own_names_all() {
    let all: BTreeSet<String> = muster_server::cli::commands().into_iter().collect();
    let is_group = |first: &str| all.iter().any(|name| name.starts_with(&format!("{first} ")));
    let mut unknown = Vec::new();
    for (document, text) in texts() {
        let indented = text.lines().filter_map(|line| line.strip_prefix("    "));
        for line in quoted(&text).chain(indented).filter_map(|line| line.strip_prefix("muster ")) {
            let mut parts = line.split_whitespace();
            let first = parts.next().unwrap_or_default();
            let below = parts.next().filter(|_| is_group(first)).unwrap_or_default();
            for second in
                below.split('|').filter(|word| word.chars().all(|sign| sign.is_ascii_lowercase() || sign == '-'))
            {
                let name = format!("{first} {second}");
                if !all.contains(name.trim()) {
                    unknown.push(format!("{document}: muster {name}"));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    let own = std::fs::read_to_string(source().join("../README.md")).unwrap();
    let named: Vec<&str> = own.lines().filter(|line| line.starts_with("| `muster ")).collect();
    for command in &all {
        let (first, second) = command.split_once(' ').unwrap_or((command, ""));
        let line = named.iter().find(|line| line.starts_with(&format!("| `muster {first}")));
        let line = line.unwrap_or_else(|| panic!("server/README.md does not name muster {first}"));
        let listed = line.split(['`', ' ', '|', ',']).any(|word| word == second);
        assert!(second.is_empty() || listed, "server/README.md does not name muster {command}");
    }
}

/// Numbers in sentences, and the lines of our programs that they come from.
const NUMBERS: &[(&str, &str, &str)] = &[
    ("README.md", "access 15 min, refresh 14 days", "\"ACCESS_TOKEN_EXPIRE_MINUTES\", default_value_t = 15"),
    ("README.md", "access 15 min, refresh 14 days", "\"REFRESH_TOKEN_EXPIRE_DAYS\", default_value_t = 14"),
    ("README.md", "PostgreSQL 12 or newer", "const VERSION_MIN: i32 = 12_00_00;"),
    ("README.md", "listens on 127.0.0.1:8000", "env = \"HOST\", default_value = \"127.0.0.1\""),
    ("README.md", "listens on 127.0.0.1:8000", "env = \"PORT\", default_value_t = 8000"),
    ("README.md", "keys in `muster-data`", "env = \"DATA_DIR\", default_value = \"muster-data\""),
    ("README.md", "40 phones with real pictures", "const CAST: [(&str, Part); 40]"),
    ("README.md", "up to 100 changes a request", "PUSHES_PER_REQUEST_MAX: usize = 100;"),
    ("0004", "at most 500 ms after a commit", "HEAD_FILE_EVERY: Duration = Duration::from_millis(500);"),
    ("0007", "the first 200 of a writer", "RIVALS_PER_WRITER_MAX: i64 = 200;"),
    ("0008", "a group of up to 512 requests", "GROUP_REQUESTS_MAX: usize = 512;"),
    ("0008", "by PostgreSQL after 20 seconds", "SILENT_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(20);"),
    ("0010", "at most 20,160 steps", "REFRESH_CHAIN_STEPS_MAX: u32 = 20_160;"),
    ("0010", "revoked, at most 32", "REVOKED_SESSIONS_MAX: u32 = 32;"),
    ("0010", "another one within 900 ms", "PRINCIPAL_TTL: Duration = Duration::from_millis(900);"),
    ("0011", "a name has 10 tries in 10 minutes", "\"RL_LOGIN_EMAIL_LIMIT\", default_value_t = 10"),
    ("0011", "user name together give 8 guesses", "\"LOGIN_FAIL_EMAIL_THRESHOLD\", default_value_t = 8"),
    ("0011", "of an address* (30 failures, doubling)", "\"LOGIN_FAIL_IP_THRESHOLD\", default_value_t = 30"),
    ("0011", "fifty times as much for CAMPUS_NETWORKS", "\"RL_CAMPUS_FACTOR\", default_value_t = 50"),
    ("0011", "another's account for 15 minutes", "\"EMAIL_LOCK_TTL\", default_value_t = 900"),
    ("0013", "are there 5 failures within 15 minutes", "MFA_FAILURES_MAX: u32 = 5;"),
    ("0013", "are there 5 failures within 15 minutes", "MFA_FAILURES_WINDOW: Duration = Duration::from_secs(15 * 60);"),
    ("0014", "A fetch has 5 s and 256 KiB", "FETCH_TIMEOUT: Duration = Duration::from_secs(5);"),
    ("0014", "A fetch has 5 s and 256 KiB", "FETCH_BYTES_MAX: usize = 256 * 1024;"),
    ("0014", "at most once a minute", "KEYS_REFETCH_MS: i64 = 60_000;"),
    ("0015", "three times at most", "ATTEMPTS_MAX: u32 = 3;"),
    ("0018", "50 submissions and 20 appeals", "SUBMISSIONS_PER_RECORD_MAX: u64 = 50;"),
    ("0018", "50 submissions and 20 appeals", "APPEALS_PER_RECORD_MAX: u64 = 20;"),
    ("0018", "100 decisions and marks of each person", "DECISIONS_PER_PERSON_MAX: u64 = 100;"),
    ("0020", "a job in steps of 500 accounts", "FORMS_PER_STEP: u32 = 500;"),
];

#[test]
fn numbers_in_sentences_are_those_of_the_programs() {
    let root = source().join("../..");
    let mut files = Vec::new();
    for folder in ["server/src", "sync-core/src"] {
        super::tidy::rust_files(&root.join(folder), &mut files);
    }
    let programs: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let texts = texts();
    for (name, sentence, line) in NUMBERS {
        let of = |path: &str| Path::new(path).file_name().is_some_and(|file| file.to_string_lossy().starts_with(name));
        let said = texts
            .iter()
            .filter(|(path, _)| of(path))
            .any(|(_, text)| text.split_whitespace().collect::<Vec<_>>().join(" ").contains(sentence));
        assert!(said, "{name} does not say: {sentence}");
        assert!(programs.contains(line), "{name} says \"{sentence}\", and no program says: {line}");
    }
}
