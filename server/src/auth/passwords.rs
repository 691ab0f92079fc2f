//! Which new passwords are refused because somebody who guesses tries them first. Works without a network.
//!
//! A password may consist of anything (NIST SP 800-63B asks for no mixture of characters): it is refused when it is one
//! of the common ones, a common word or the person's own name with a little around it, a sequence, or a date.

use serde_json::json;

use super::hashing::check_password;
use super::users::User;
use crate::error::{AppError, AppResult};
use crate::text;

/// Common passwords of at least 8 characters that the rules below would let through, in lower case.
const COMMON: &str = include_str!("common_passwords.txt");
/// Words that people put a number behind.
const COMMON_WORDS: &str = include_str!("common_words.txt");

/// What guessers know about every account here.
const SITE_WORDS: &[&str] = &["muster", "attendance", "campus", "university"];
/// A part of somebody's name that is shorter says nothing.
const ABOUT_CHARS_MIN: usize = 3;
/// Characters that must be left when what is known about the person is taken out.
const OWN_CHARS_MIN: usize = 5;
/// Different characters of a password that is not just a key held down.
const DISTINCT_CHARS_MIN: usize = 4;
/// Digits and signs that make nothing of a common word.
const DECORATION_CHARS_MAX: usize = 6;
/// Years in which people and the institution were founded.
const YEARS: std::ops::RangeInclusive<u32> = 1900..=2099;
/// The rows of a keyboard and the alphabet, in which neighbours are a sequence.
const ROWS: &[&str] =
    &["abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "azertyuiop"];

/// Refuses a new password of the wrong length, or one that is too easy to guess.
///
/// # Errors
/// 422 `VALIDATION_ERROR` for the length, 422 `PASSWORD_TOO_COMMON` otherwise. Both name the field.
pub(crate) fn check_new(field: &'static str, password: &str, about: &[&str]) -> AppResult<()> {
    check_password(field, password)?;
    if !is_guessable(password, about) {
        return Ok(());
    }
    let message = "this password is among the first that are guessed; choose another one";
    let status = axum::http::StatusCode::UNPROCESSABLE_ENTITY;
    Err(AppError::new(status, "PASSWORD_TOO_COMMON", message).with_details(json!({ "field": field })))
}

/// What others know about a user, for [`check_new`].
pub(crate) fn about(user: &User) -> Vec<&str> {
    let names = [user.username.as_deref(), user.person.given_name.as_deref(), user.person.family_name.as_deref()];
    let mut about = vec![user.email.as_str(), user.display_name.as_str()];
    about.extend(names.into_iter().flatten());
    about
}

fn is_guessable(password: &str, about: &[&str]) -> bool {
    let lower = text::alike(password);
    let plain: String = lower.chars().map(unmasked).collect();
    // At the end of a word a digit or a sign is one, and no letter.
    let stem = lower.trim_matches(|c: char| !c.is_alphabetic() && !matches!(c, '@' | '$'));
    let is_little = lower.chars().count() - stem.chars().count() <= DECORATION_CHARS_MAX;
    let bare: String = if is_little { stem.chars().map(unmasked).collect() } else { String::new() };
    let listed = |list: &str, text: &str| list.lines().any(|line| line == text);
    listed(COMMON, &lower)
        || [&plain, &bare].into_iter().any(|text| listed(COMMON, text))
        || [&lower, &plain, &bare].into_iter().any(|text| is_decorated_word(text))
        || few_characters(&lower)
        || is_sequence(&lower)
        || is_date(&lower)
        || [&lower, &plain].into_iter().any(|text| is_about(text, about))
}

/// The letter that a digit or a sign stands for.
fn unmasked(c: char) -> char {
    match c {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        other => other,
    }
}

/// Common words, one or several, with nothing but digits and signs before, between and behind them.
fn is_decorated_word(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).peekable();
    let others = text.chars().filter(|c| !c.is_alphabetic()).count();
    words.peek().is_some() && others <= DECORATION_CHARS_MAX && words.all(is_common_word)
}

/// A common word, or two or three of them in a row.
fn is_common_word(word: &str) -> bool {
    let begins = COMMON_WORDS.lines().filter(|common| !common.is_empty());
    begins
        .filter_map(|common| word.strip_prefix(common))
        .any(|rest| rest.is_empty() || COMMON_WORDS.lines().any(|common| rest == common || rest == common.repeat(2)))
}

/// A few characters again and again, or a short piece repeated to the end.
fn few_characters(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    let distinct = chars.iter().collect::<std::collections::BTreeSet<_>>().len();
    let repeats = |length: usize| chars.chunks(length).all(|chunk| chars.starts_with(chunk));
    distinct < DISTINCT_CHARS_MIN || (1..=chars.len() / 2).take(8).any(repeats)
}

/// Neighbours on a keyboard or in the alphabet, forwards or backwards, in at most two runs.
fn is_sequence(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    let follows = |pair: &[char]| {
        ROWS.iter().any(|row| {
            let pair: String = pair.iter().collect();
            let backwards: String = pair.chars().rev().collect();
            row.contains(&pair) || row.contains(&backwards)
        })
    };
    let breaks = chars.windows(2).filter(|pair| !follows(pair)).count();
    breaks <= 1
}

/// Eight digits that are a day, with or without signs between them.
fn is_date(text: &str) -> bool {
    let digits: String = text.chars().filter(|c| !matches!(c, '.' | '-' | '/' | ' ')).collect();
    if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let number = |range: std::ops::Range<usize>| digits[range].parse::<u32>().unwrap_or(0);
    let day = |first: u32, second: u32| {
        let (low, high) = (first.min(second), first.max(second));
        (1..=12).contains(&low) && (1..=31).contains(&high)
    };
    YEARS.contains(&number(0..4)) && day(number(4..6), number(6..8))
        || YEARS.contains(&number(4..8)) && day(number(0..2), number(2..4))
}

/// What is known about the person or the site, with less than a few characters of one's own.
fn is_about(text: &str, about: &[&str]) -> bool {
    let lower: Vec<String> = about.iter().map(|known| text::alike(known)).collect();
    let mut parts: Vec<&str> = lower.iter().flat_map(|known| known.split(|c: char| !c.is_alphanumeric())).collect();
    parts.extend(lower.iter().map(String::as_str));
    parts.extend(SITE_WORDS);
    parts.retain(|part| part.chars().count() >= ABOUT_CHARS_MIN);
    // The longest first, so that a whole address goes before its parts.
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    let mut rest = text.to_owned();
    for part in parts {
        rest = rest.replace(part, "");
    }
    rest.len() < text.len() && rest.chars().count() < OWN_CHARS_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: &[&str] = &["ada.lovelace@uni.example", "Ada Lovelace", "ada1815"];

    fn code(password: &str) -> Option<&'static str> {
        check_new("password", password, ABOUT).err().map(|error| error.code())
    }

    #[test]
    fn what_is_guessed_first_is_refused() {
        for password in [
            "password",
            "Password1",
            "P@ssw0rd!",
            "passw0rd123",
            "12345678",
            "123456789",
            "87654321",
            "qwertyuiop",
            "QWERTY123",
            "1q2w3e4r",
            "iloveyou",
            "letmein1!",
            "admin123",
            "Admin123!",
            "Welcome2024",
            "welcome1",
            "student123",
            "sunshine1",
            "aaaaaaaa",
            "abababab",
            "abcabcabc",
            "abcdefgh",
            "asdfghjkl",
            "trustno1",
            "19991231",
            "31.12.1999",
            "1999-12-31",
            "football",
            "baseball1",
            "superman12",
            "dragon99",
            "monkey123",
            "changeme",
            "default1",
            "hunter22",
            "princess1",
            "passwordpassword",
            "admin_admin",
            "qwerty12345",
            "test1234",
            "Football2024!",
            "00000000",
            "11223344",
            "zxcvbnm1",
        ] {
            assert_eq!(code(password), Some("PASSWORD_TOO_COMMON"), "{password}");
        }
    }

    #[test]
    fn what_is_known_about_the_person_is_refused() {
        for password in [
            "lovelace",
            "Lovelace1",
            "adalovelace",
            "ada.lovelace@uni.example",
            "ada1815!",
            "Ada Lovelace",
            "L0velace99",
            "muster2024",
            "university1",
        ] {
            assert_eq!(code(password), Some("PASSWORD_TOO_COMMON"), "{password}");
        }
        assert!(check_new("password", "lovelace1", &["bob@uni.example"]).is_ok());
    }

    #[test]
    fn what_the_sources_use_as_examples_and_what_people_think_up_is_accepted() {
        for password in [
            "secure123",
            "securepass",
            "SecurePass123!",
            "correct horse battery",
            "a new password",
            "tr0ub4dor&3",
            "Ada likes engines",
            "blue kettle 9",
            "zK8#vq2L",
            "пароль для входа",
            "83649172",
            "mein hund heisst rex",
        ] {
            assert_eq!(code(password), None, "{password}");
        }
    }

    #[test]
    fn length_is_counted_in_bytes() {
        assert_eq!(code("zK8#vq2"), Some("VALIDATION_ERROR"));
        assert_eq!(code("żółwi"), None);
        assert_eq!(code(&"żk".repeat(512)), Some("VALIDATION_ERROR"));
        let long: String = (0..1024).map(|index| char::from(b'a' + (index * index % 23) as u8)).collect();
        assert_eq!(code(&long), None);
        assert_eq!(code(&format!("{long}x")), Some("VALIDATION_ERROR"));
    }
}
