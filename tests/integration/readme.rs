//! The lists of README.md against the program: what it names is there, and what is there it names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use muster_tests::lecture::Lecture;

use super::config::report;
use super::tidy::source;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// The words between back quotes that follow a text, up to the next full stop.
fn quoted_after<'a>(text: &'a str, begin: &str) -> BTreeSet<&'a str> {
    let rest = text.split_once(begin).unwrap_or_else(|| panic!("README.md does not say: {begin}")).1;
    let sentence = rest.split(". ").next().unwrap().split(".\n").next().unwrap();
    sentence.split('`').skip(1).step_by(2).collect()
}

#[tokio::test]
async fn the_checks_that_it_names_are_those_of_a_verdict() {
    let lecture = Lecture::begin().await;
    let mut student = lecture.student(1).await;
    let record = lecture.capture(&mut student, &lecture.manifest(None)).await;
    let verdict = lecture.verdict(&record, 1).await;
    let names = verdict["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap());
    let bounds = ["not_before", "not_after"];
    let computed: BTreeSet<&str> = names.filter(|name| !bounds.contains(name)).collect();
    assert_eq!(quoted_after(&readme(), "judges it by its checks ("), computed);
}

#[test]
fn the_commands_that_it_names_are_there_and_none_is_missing() {
    let readme = readme();
    let all: BTreeSet<String> = muster_server::cli::commands().into_iter().collect();
    let below = |command: &str| -> BTreeSet<&str> {
        all.iter().filter_map(|name| name.strip_prefix(command)?.strip_prefix(' ')).collect()
    };
    let line = readme.lines().find(|line| line.trim().starts_with("muster admin ")).unwrap();
    let listed: BTreeSet<&str> = line.split_whitespace().nth(2).unwrap().split('|').collect();
    assert_eq!(listed, below("admin"), "of muster admin");
    // Whatever stands between back quotes or is indented, and begins with the program's name.
    let quoted = readme.split('`').skip(1).step_by(2);
    let indented = readme.lines().filter_map(|line| line.strip_prefix("    "));
    let mut named = BTreeSet::new();
    for text in quoted.chain(indented).filter(|text| text.starts_with("muster ")) {
        let mut words = text.split_whitespace().skip(1);
        let first = words.next().unwrap();
        assert!(all.contains(first), "muster {first} is no command");
        let second = words.next().filter(|word| word.chars().all(|sign| sign.is_ascii_lowercase()));
        if let Some(second) = second.filter(|_| !below(first).is_empty()) {
            assert!(below(first).contains(second), "muster {first} {second} is no command");
        }
        named.insert(first);
    }
    for command in all.iter().filter(|name| !name.contains(' ')) {
        let run_from_here = readme.contains(&format!("cargo run --release -- {command}"));
        assert!(named.contains(command.as_str()) || run_from_here, "README.md does not name muster {command}");
    }
}

#[test]
fn the_map_names_every_module_and_the_settings_that_it_names_are_settings() {
    let readme = readme();
    let lib = std::fs::read_to_string(source().join("lib.rs")).unwrap();
    let declared: Vec<&str> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let map = readme.split_once("Inside `server`").unwrap().1;
    let words: BTreeSet<&str> = map.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_').collect();
    let ground = declared.iter().position(|module| *module == "ids").unwrap();
    for module in &declared[ground + 1..] {
        assert!(words.contains(module), "the map does not name {module}");
    }
    let report = report(&[]);
    let settings = report.by_name();
    let named = readme.split('`').skip(1).step_by(2).map(|text| text.split(['=', '/', ' ']).next().unwrap());
    let is_name = |text: &&str| {
        text.len() > 3 && text.contains('_') && text.chars().all(|sign| sign.is_ascii_uppercase() || sign == '_')
    };
    // Those of the replaced systems are in the example.
    let example = muster_server::config::example();
    let is_known = |name: &str| settings.contains_key(name) || example.contains(name);
    let unknown: Vec<&str> = named.filter(is_name).filter(|name| !is_known(name)).collect();
    assert!(unknown.is_empty(), "README.md names settings that are none: {unknown:?}");
}
