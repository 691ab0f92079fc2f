//! One SQL text for both databases: what is written differently for PostgreSQL.

use super::super::DbError;

/// A statement with the placeholders of PostgreSQL: `?1` becomes `$1`.
pub(super) fn statement(sql: &str) -> String {
    let mut translated = String::with_capacity(sql.len());
    for part in parts(sql) {
        match part {
            Part::Code(code) => placeholders(code, &mut translated),
            Part::Other(text) => translated.push_str(text),
        }
    }
    translated
}

fn placeholders(code: &str, translated: &mut String) {
    let mut rest = code;
    while let Some(at) = rest.find('?') {
        translated.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        translated.push(if rest.starts_with(|c: char| c.is_ascii_digit()) { '$' } else { '?' });
    }
    translated.push_str(rest);
}

/// A migration for PostgreSQL.
///
/// `BLOB` becomes `BYTEA`; texts compare by their bytes, whatever the database's collation; `WITHOUT ROWID` falls away;
/// a trigger that refuses gets its function.
///
/// # Errors
/// When it holds a trigger of another kind.
pub(in crate::db) fn migration(sql: &str) -> Result<String, DbError> {
    let mut translated = String::with_capacity(sql.len() * 2);
    for statement in statements(sql) {
        if words(&statement).take(2).eq(["CREATE", "TRIGGER"]) {
            translated.push_str(&trigger(&statement)?);
        } else if words(&statement).take(2).eq(["DROP", "TRIGGER"]) {
            translated.push_str(&without_trigger(&statement)?);
        } else {
            types(&statement, &mut translated);
        }
        translated.push('\n');
    }
    Ok(translated)
}

fn types(statement: &str, translated: &mut String) {
    let mut last = String::new();
    for part in parts(statement) {
        let code = match part {
            Part::Code(code) => code.replace("WITHOUT ROWID", ""),
            Part::Other(text) => {
                translated.push_str(text);
                continue;
            }
        };
        for token in tokens(&code) {
            translated.push_str(match token {
                "BLOB" => "BYTEA",
                "TEXT" if last != "AS" => "TEXT COLLATE \"C\"",
                other => other,
            });
            if !token.trim().is_empty() {
                token.clone_into(&mut last);
            }
        }
    }
}

/// `CREATE TRIGGER name BEFORE UPDATE|DELETE|INSERT ON table [WHEN (..)] BEGIN SELECT RAISE(ABORT, '..'); END;`
fn trigger(statement: &str) -> Result<String, DbError> {
    let unknown = || DbError::other(format!("a trigger that only SQLite understands: {statement}"));
    let (head, body) = statement.split_once("BEGIN").ok_or_else(unknown)?;
    let (head, when) = head.split_once("WHEN").map_or((head, ""), |(head, when)| (head, when));
    let [_, _, name, _, event, _, table] = words(head).collect::<Vec<_>>()[..] else { return Err(unknown()) };
    let message = body.trim().strip_prefix("SELECT RAISE(ABORT, '").and_then(|rest| rest.split_once("');"));
    let (message, end) = message.ok_or_else(unknown)?;
    if end.trim() != "END;" || message.contains('$') {
        return Err(unknown());
    }
    let message = message.replace('%', "%%");
    let mut sql = format!(
        "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$\
         BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = 'check_violation'; END$$;\n"
    );
    let when = if when.is_empty() { String::new() } else { format!(" WHEN ({})", when.trim()) };
    sql += &format!("CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW{when} EXECUTE FUNCTION {name}();\n");
    // SQLite has no TRUNCATE: whoever may not delete may not do this either.
    if event == "DELETE" && when.is_empty() {
        sql += &format!(
            "CREATE TRIGGER {name}_at_once BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {name}();\n"
        );
    }
    Ok(sql)
}

/// `DROP TRIGGER name;` takes the function along, and with it the trigger.
fn without_trigger(statement: &str) -> Result<String, DbError> {
    match words(statement.trim_end_matches(';')).collect::<Vec<_>>()[..] {
        [_, _, name] => Ok(format!("DROP FUNCTION {name}() CASCADE;\n")),
        _ => Err(DbError::other(format!("not a trigger that can be dropped: {statement}"))),
    }
}

/// The statements of a file, each with its semicolon; comments are left out.
fn statements(sql: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut current = String::new();
    for part in parts(sql) {
        match part {
            Part::Other(text) if text.starts_with("--") => {}
            Part::Other(text) => current.push_str(text),
            Part::Code(code) => {
                for piece in code.split_inclusive(';') {
                    current.push_str(piece);
                    let in_trigger = words(&current).take(2).eq(["CREATE", "TRIGGER"]);
                    let ended = if in_trigger { current.trim_end().ends_with("END;") } else { piece.ends_with(';') };
                    if ended {
                        statements.push(std::mem::take(&mut current).trim().to_owned());
                    }
                }
            }
        }
    }
    if !current.trim().is_empty() {
        statements.push(current.trim().to_owned());
    }
    statements
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split_whitespace()
}

/// Words, and what stands between them.
fn tokens(code: &str) -> impl Iterator<Item = &str> {
    let mut rest = code;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = rest.find(|c| is_word(c) != is_word(first)).unwrap_or(rest.len());
        let (token, after) = rest.split_at(end);
        rest = after;
        Some(token)
    })
}

enum Part<'a> {
    /// What SQL reads as words and signs.
    Code(&'a str),
    /// A text in quotes, or a comment.
    Other(&'a str),
}

fn parts(sql: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = sql;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let quoted = |rest: &str, quote: char| rest[1..].find(quote).map_or(rest.len(), |at| at + 2);
        let (length, other) = if rest.starts_with("--") {
            (rest.find('\n').unwrap_or(rest.len()), true)
        } else if rest.starts_with('\'') {
            (quoted(rest, '\''), true)
        } else if rest.starts_with('"') {
            (quoted(rest, '"'), true)
        } else {
            let ends = [rest.find("--"), rest.find('\''), rest.find('"')];
            (ends.into_iter().flatten().min().unwrap_or(rest.len()), false)
        };
        let (part, after) = rest.split_at(length);
        rest = after;
        Some(if other { Part::Other(part) } else { Part::Code(part) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_outside_of_quotes_only() {
        assert_eq!(statement("SELECT ?1, '?2 it''s ?3', ?12 -- ?4\n"), "SELECT $1, '?2 it''s ?3', $12 -- ?4\n");
    }

    #[test]
    fn types_of_columns_are_translated_and_names_are_not() {
        let sql =
            "-- A BLOB; really.\nCREATE TABLE notes (text TEXT NOT NULL, body BLOB DEFAULT 'TEXT') WITHOUT ROWID;";
        assert_eq!(
            migration(sql).unwrap(),
            "CREATE TABLE notes (text TEXT COLLATE \"C\" NOT NULL, body BYTEA DEFAULT 'TEXT') ;\n"
        );
        assert_eq!(migration("SELECT CAST(a AS TEXT);").unwrap(), "SELECT CAST(a AS TEXT);\n");
    }

    #[test]
    fn a_trigger_that_refuses_gets_a_function() {
        let sql = "CREATE TRIGGER kept BEFORE DELETE ON log\nBEGIN\n    SELECT RAISE(ABORT, 'kept; for ever');\nEND;\n\
                   CREATE TABLE next (id BIGINT);";
        let translated = migration(sql).unwrap();
        assert!(translated.contains("RAISE EXCEPTION 'kept; for ever'"), "{translated}");
        assert!(translated.contains("BEFORE DELETE ON log FOR EACH ROW EXECUTE FUNCTION kept()"), "{translated}");
        assert!(translated.contains("BEFORE TRUNCATE ON log"), "{translated}");
        assert!(translated.ends_with("CREATE TABLE next (id BIGINT);\n"), "{translated}");
    }

    #[test]
    fn another_trigger_is_refused() {
        let sql = "CREATE TRIGGER t AFTER INSERT ON a\nBEGIN\n    DELETE FROM b;\nEND;";
        assert!(migration(sql).is_err());
    }
}
