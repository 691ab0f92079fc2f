//! Every statement of the server, read from its sources: both databases must understand each of them, and alike.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::tidy::{rust_files, source};

/// A text in a source file, and the code right before it.
struct Literal {
    text: String,
    before: String,
}

/// Every statement that a closure may run, except those of the database module itself.
pub(crate) fn all() -> BTreeSet<String> {
    let mut files = Vec::new();
    rust_files(&source(), &mut files);
    files.retain(|file| !file.starts_with(source().join("db")));
    let read: Vec<(String, Vec<Literal>)> = files
        .iter()
        .map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            (file.display().to_string(), literals(&code))
        })
        .collect();
    let everywhere: BTreeMap<String, String> = read.iter().flat_map(|(_, literals)| constants(literals)).collect();
    let mut statements = BTreeSet::new();
    for (file, literals) in &read {
        let mut known = everywhere.clone();
        known.extend(constants(literals));
        let macros = macros(literals);
        for literal in literals {
            let name = literal.before.strip_suffix("!(").map(|code| code.rsplit(|c| !is_word(c)).next().unwrap_or(""));
            match name.and_then(|name| macros.get(name)) {
                Some(start) => _ = statements.insert(format!("{start}{}", literal.text)),
                None if name == Some("format") => statements.extend(filled(file, &literal.text, &known)),
                None if is_statement(&literal.text) => _ = statements.insert(literal.text.clone()),
                None => {}
            }
        }
    }
    statements
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_statement(text: &str) -> bool {
    let first = text.split_whitespace().next();
    first.is_some_and(|word| ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].contains(&word)) && text.contains(' ')
}

/// `const NAME: &str = "..."`
fn constants(literals: &[Literal]) -> Vec<(String, String)> {
    let constant = |literal: &Literal| {
        let (_, name) = literal.before.strip_suffix(": &str =")?.rsplit_once("const ")?;
        Some((name.to_owned(), literal.text.clone()))
    };
    literals.iter().filter_map(constant).collect()
}

/// `macro_rules! name { ($rest:literal) => { concat!("...", $rest) } }`
fn macros(literals: &[Literal]) -> BTreeMap<String, String> {
    let start = |literal: &Literal| {
        let (_, code) = literal.before.strip_suffix("concat!(")?.rsplit_once("macro_rules! ")?;
        Some((code.split(|c| !is_word(c)).next()?.to_owned(), literal.text.clone()))
    };
    literals.iter().filter_map(start).collect()
}

/// The statements that a format string can become.
fn filled(file: &str, text: &str, known: &BTreeMap<String, String>) -> Vec<String> {
    let starts = |text: &str| is_statement(text) || text.trim_start().starts_with('{');
    if !starts(text) {
        return Vec::new();
    }
    let mut variants = vec![String::new()];
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap();
        let pieces: Vec<String> = match (name, known.get(name)) {
            (_, Some(constant)) => vec![constant.clone()],
            ("table", _) if file.ends_with("rates/queries.rs") => {
                vec!["rate_counters".to_owned(), "sign_in_failures".to_owned()]
            }
            // `Voucher`: whose word counts for how much.
            ("ranks", _) => vec![" WHEN 'mail' THEN 1".to_owned()],
            ("column", _) => vec!["email".to_owned(), "username".to_owned()],
            // `Wanted::in_courses`: every course, none, or some.
            ("", _) if file.ends_with("class_sessions/queries.rs") => {
                let next = (1..20).filter(|number| text.contains(&format!("?{number}"))).max().unwrap_or(0) + 1;
                vec!["1 = 1".to_owned(), "1 = 0".to_owned(), format!("s.course_id IN (?{next}, ?{})", next + 1)]
            }
            // Made from the list of projections; the tests of `muster rebuild` run every one of them.
            _ if file.ends_with("recovery/queries.rs") => return Vec::new(),
            _ if !is_statement(text) => return Vec::new(),
            _ => panic!("{file}: teach this test what {{{name}}} can be in {text}"),
        };
        variants = variants
            .iter()
            .flat_map(|start| pieces.iter().map(move |piece| format!("{start}{plain}{piece}")))
            .collect();
        rest = after;
    }
    variants.iter().map(|start| format!("{start}{rest}")).filter(|text| is_statement(text)).collect()
}

/// The texts of a source file. Comments are skipped; raw strings hold no SQL here.
fn literals(code: &str) -> Vec<Literal> {
    let mut found = Vec::new();
    let mut before = String::new();
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(after) = rest.strip_prefix("'\"'") {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("'\\\"'") {
            rest = after;
        } else if c == '"' {
            let (text, after) = literal(&rest[1..]);
            let trimmed = before.trim_end().to_owned();
            found.push(Literal { text, before: trimmed });
            before.clear();
            rest = after;
        } else {
            before.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    found
}

fn literal(mut rest: &str) -> (String, &str) {
    let mut text = String::new();
    loop {
        let Some(c) = rest.chars().next() else { return (text, rest) };
        rest = &rest[c.len_utf8()..];
        match c {
            '"' => return (text, rest),
            '\\' => {
                let escaped = rest.chars().next().unwrap();
                rest = &rest[escaped.len_utf8()..];
                match escaped {
                    '\n' => rest = rest.trim_start(),
                    'n' => text.push('\n'),
                    other => text.push(other),
                }
            }
            other => text.push(other),
        }
    }
}

#[test]
fn the_statements_are_found() {
    let statements = all();
    assert!(statements.len() > 100, "{}", statements.len());
    let holds = |part: &str| assert!(statements.iter().any(|sql| sql.contains(part)), "{part}");
    // One of each way in which the sources write a statement.
    holds("INSERT INTO change_log");
    holds("JOIN documents d ON d.document_id = l.document_id WHERE l.tenant_id = ?1");
    holds("FROM users WHERE tenant_id = ?1 AND username = ?2");
    holds("AND s.course_id IN (?7, ?8)");
    let slices = std::fs::read_dir(source()).unwrap().flatten().filter(|entry| entry.path().is_dir());
    for slice in slices.filter(|entry| entry.file_name() != "db") {
        let mut files = Vec::new();
        rust_files(&slice.path(), &mut files);
        let calls: usize = files.iter().map(|file| calls(file)).sum();
        let texts: usize = files.iter().map(|file| literals_of(file)).sum();
        // A helper may pass its text on, so a slice may call a little more often than it has texts.
        assert!(texts + 4 >= calls, "{}: {calls} calls, {texts} texts", slice.path().display());
    }
}

fn calls(file: &Path) -> usize {
    let text = std::fs::read_to_string(file).unwrap();
    ["tx.execute(", "tx.send(", "tx.query(", "tx.query_one("].iter().map(|call| text.matches(call).count()).sum()
}

fn literals_of(file: &Path) -> usize {
    let text = std::fs::read_to_string(file).unwrap();
    let starts = |literal: &&Literal| is_statement(&literal.text) || literal.before.ends_with("!(");
    literals(&text).iter().filter(starts).count()
}
