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
