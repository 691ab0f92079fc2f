//! E-mail addresses, user names and what else describes a person, in the one form in which they are stored.

use unicode_normalization::UnicodeNormalization;

use crate::error::AppError;

/// Longest e-mail address.
const EMAIL_BYTES_MAX: usize = 254;
/// Length of a user name.
const USERNAME_CHARS: std::ops::RangeInclusive<usize> = 3..=40;
/// Characters of a display name, a given name, a family name or a section.
pub const NAME_CHARS_MAX: usize = 120;
/// Characters of an id in the registry's own system.
pub const EXTERNAL_ID_CHARS_MAX: usize = 255;

/// A name that somebody signs in with, in its one form: without spaces around it, in lower case, accents part of their letters.
pub(super) fn folded(name: &str) -> String {
    name.trim().to_lowercase().nfc().collect()
}

/// An e-mail address in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Checks the form; whether anybody reads mail there is another question.
    pub fn parse(text: &str) -> Result<Self, AppError> {
        let text = folded(text);
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '@';
        let valid = text.len() <= EMAIL_BYTES_MAX
            && text.split_once('@').is_some_and(|(local, domain)| {
                !local.is_empty()
                    && local.chars().all(plain)
                    && domain.split('.').all(|label| !label.is_empty())
                    && domain.chars().all(plain)
            });
        if valid { Ok(Self(text)) } else { Err(AppError::field("email", "this is not an e-mail address")) }
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A user name in lower case; never looks like an e-mail address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username(String);

impl Username {
    /// Letters, digits, dot, underscore and hyphen.
    pub fn parse(text: &str) -> Result<Self, AppError> {
        let text = folded(text);
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
        if USERNAME_CHARS.contains(&text.chars().count()) && text.chars().all(plain) {
            return Ok(Self(text));
        }
        Err(AppError::field(
            "username",
            "a user name has 3 to 40 letters, digits, dots, hyphens, slashes or underscores",
        ))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A person's name as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayName(String);

impl DisplayName {
    /// Anything that people are called, without control characters.
    pub fn parse(text: &str) -> Result<Self, AppError> {
        let text = text.trim();
        let valid = (1..=NAME_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        if valid {
            return Ok(Self(text.to_owned()));
        }
        Err(AppError::field("display_name", "a name has 1 to 120 characters"))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text about a person, such as a given name, without the spaces around it; an empty one says that there is none.
///
/// # Errors
/// 422 that names the field when the text is too long or has control characters.
pub fn bounded(field: &'static str, text: &str, chars_max: usize) -> Result<String, AppError> {
    let text = text.trim();
    if text.chars().count() <= chars_max && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(AppError::field(field, format!("at most {chars_max} characters, and no control characters")))
}

/// [`bounded`] for a text that may be missing.
///
/// # Errors
/// As there.
pub fn optional(field: &'static str, text: Option<&str>, chars_max: usize) -> Result<Option<String>, AppError> {
    let text = text.map(|text| bounded(field, text, chars_max)).transpose()?;
    Ok(text.filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_text() {
        assert_eq!(Email::parse(" Ada@Uni.Example ").unwrap().as_str(), "ada@uni.example");
        for text in ["", "ada", "@uni.example", "ada@", "ada@uni..example", "a da@uni.example", "a@b@c", "a@b\n"] {
            assert_eq!(Email::parse(text).is_ok(), text == "a@b\n", "{text:?}");
        }
    }

    #[test]
    fn a_user_name_never_looks_like_an_address() {
        assert_eq!(Username::parse("Student1").unwrap().as_str(), "student1");
        assert!(Username::parse("CS/2024/017").is_ok());
        assert_eq!(Username::parse("Rene\u{301}e").unwrap().as_str(), "renée");
        for text in ["ab", "a@b.c", "a b c", &"x".repeat(41)] {
            assert!(Username::parse(text).is_err(), "{text:?}");
        }
    }
}
