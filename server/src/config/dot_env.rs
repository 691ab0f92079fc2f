//! The file `.env`, read as the systems that Muster replaces read it: quotes count at the begin of a value only, so that
//! `["https://campus.edu"]` stays what it is, and `$` is a character like any other, unless `${NAME}` is asked for.

use std::collections::BTreeMap;

/// A name, `=` and a value.
pub(super) type Entry = (String, String);

/// What cannot be read, by the number of its line; what stands there may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadLine(pub(super) usize);

/// Reads the whole text; `environment` is asked for what `${NAME}` means when no line before says it.
///
/// # Errors
/// The first line that cannot be read.
pub(super) fn parse(text: &str, environment: impl Fn(&str) -> Option<String>) -> Result<Vec<Entry>, BadLine> {
    let mut entries = Vec::new();
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    while !rest.is_empty() {
        let bad = BadLine(text[..text.len() - rest.len()].matches('\n').count() + 1);
        let (line, _) = cut_line(rest);
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            rest = cut_line(rest).1;
            continue;
        }
        let (name, value) = rest.split_once('=').filter(|(name, _)| !name.contains('\n')).ok_or(bad)?;
        let name = name.trim();
        let name = name.strip_prefix("export ").map_or(name, str::trim);
        if !is_name(name) {
            return Err(bad);
        }
        let mean = |name: &str| known.get(name).cloned().or_else(|| environment(name)).unwrap_or_default();
        let (value, behind) = value_of(value, mean).ok_or(bad)?;
        known.insert(name.to_owned(), value.clone());
        entries.push((name.to_owned(), value));
        rest = behind;
    }
    Ok(entries)
}

fn cut_line(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    !name.is_empty() && name.bytes().all(plain)
}

/// The value, and what stands behind its line.
fn value_of(text: &str, mean: impl Fn(&str) -> String) -> Option<(String, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    let Some(quote @ ('"' | '\'')) = text.chars().next() else {
        let (line, behind) = cut_line(text);
        let end = line.char_indices().find(|(at, c)| *c == '#' && line[..*at].ends_with([' ', '\t']));
        // A comment right behind the sign leaves nothing.
        let value = if line.starts_with('#') { "" } else { &line[..end.map_or(line.len(), |(at, _)| at)] };
        return Some((expanded(value.trim(), mean), behind));
    };
    let (value, behind) = quoted(&text[1..], quote)?;
    let (left, behind) = cut_line(behind);
    if !(left.trim().is_empty() || left.trim_start().starts_with('#')) {
        return None;
    }
    Some((if quote == '"' { expanded(&value, mean) } else { value }, behind))
}

/// Up to the closing quote, which may stand on a later line. A backslash in double quotes means what it means elsewhere.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            _ if c == quote => return Some((value, &text[at + 1..])),
            '\\' => {
                let (_, escaped) = characters.next()?;
                match escaped {
                    'n' if quote == '"' => value.push('\n'),
                    'r' if quote == '"' => value.push('\r'),
                    't' if quote == '"' => value.push('\t'),
                    '\\' | '\'' | '"' => value.push(escaped),
                    other => value.extend(['\\', other]),
                }
            }
            other => value.push(other),
        }
    }
    None
}

fn expanded(value: &str, mean: impl Fn(&str) -> String) -> String {
    let mut told = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        match after.split_once('}').filter(|(name, _)| is_name(name)) {
            Some((name, behind)) => {
                told.push_str(before);
                told.push_str(&mean(name));
                rest = behind;
            }
            None => {
                told.push_str(before);
                told.push_str("${");
                rest = after;
            }
        }
    }
    told + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Entry>, BadLine> {
        parse(text, |name| (name == "HOME").then(|| "/home/m".to_owned()))
    }

    #[test]
    fn each_form_of_a_value_is_read_as_it_was_meant() {
        for (line, value) in [
            ("A=b", "b"),
            ("export A = b ", "b"),
            ("A=", ""),
            ("A= # nothing", ""),
            ("A=s3  # or \"local\"", "s3"),
            ("A=no#comment", "no#comment"),
            (r#"A=["https://a.example","https://b.example"]"#, r#"["https://a.example","https://b.example"]"#),
            ("A=pa$word", "pa$word"),
            ("A=\"pa$word\"", "pa$word"),
            ("A='${HOME}'", "${HOME}"),
            ("A=${HOME}/x", "/home/m/x"),
            ("A=${NOWHERE}x", "x"),
            ("A=${not closed", "${not closed"),
            ("A='it is # no comment' # a comment", "it is # no comment"),
            (r#"A="two\nlines \"quoted\"""#, "two\nlines \"quoted\""),
            (r"A=C:\new", r"C:\new"),
            ("A=\"one\ntwo\"", "one\ntwo"),
            ("A=Muster <m@uni.example>", "Muster <m@uni.example>"),
        ] {
            assert_eq!(read(line), Ok(vec![("A".to_owned(), value.to_owned())]), "{line}");
            assert_eq!(read(&format!("\u{feff}# first\r\n\r\n{line}\r\n")).unwrap()[0].1, value, "{line}");
        }
        let two = read("A=1\nB=${A}2\n").unwrap();
        assert_eq!(two[1], ("B".to_owned(), "12".to_owned()));
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_line() {
        for (text, line) in [("A=1\nB\nC=2", 2), ("A=1\n\nB='x\n", 3), ("a b=1", 1), ("A=\"x\" y", 1), ("=1", 1)] {
            assert_eq!(read(text), Err(BadLine(line)), "{text}");
        }
    }
}
