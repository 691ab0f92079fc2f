//! E-mail addresses, user names and what else describes a person, in the one form in which they are stored. What that form
//! is, says [`crate::text`].

use unicode_normalization::char::is_combining_mark;

use crate::error::AppError;
use crate::mail::normal_form;
use crate::text;

/// Length of a user name.
const USERNAME_CHARS: std::ops::RangeInclusive<usize> = 3..=40;
/// Characters of a display name, a given name, a family name or a section.
pub const NAME_CHARS_MAX: usize = 120;
/// Characters of an id in the registry's own system.
pub const EXTERNAL_ID_CHARS_MAX: usize = 255;

/// What somebody signs in with, as it is stored: an address or a user name. What is neither is nobody's.
pub(super) fn sign_in_name(name: &str) -> String {
    match Email::parse(name) {
        Ok(email) => email.0,
        Err(_) => text::signed_in_by(name),
    }
}

/// An e-mail address in its one form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Takes what the mailer can send to; whether anybody reads mail there is another question.
    pub fn parse(text: &str) -> Result<Self, AppError> {
        let wrong = || AppError::field("email", "this is not an e-mail address");
        normal_form(text).map(Self).ok_or_else(wrong)
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A user name in small letters; never looks like an e-mail address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username(String);

impl Username {
    /// Letters with their marks, digits, dot, underscore, hyphen and slash.
    pub fn parse(text: &str) -> Result<Self, AppError> {
        let text = text::signed_in_by(text);
        if USERNAME_CHARS.contains(&text.chars().count()) && text::is_word(&text, &['.', '_', '-', '/']) {
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
        let text = bounded("display_name", text, NAME_CHARS_MAX)?;
        // Marks alone are no name: they change the sign before them, whatever that is.
        if text.chars().all(|c| c.is_whitespace() || is_combining_mark(c)) {
            return Err(AppError::field("display_name", "a name has 1 to 120 characters"));
        }
        Ok(Self(text))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text about a person, such as a given name, as people see it; an empty one says that there is none.
///
/// # Errors
/// 422 that names the field when the text is too long or has control characters.
pub fn bounded(field: &'static str, text: &str, chars_max: usize) -> Result<String, AppError> {
    let text = text::shown(text);
    if text.chars().count() <= chars_max && !text::has_controls(&text) {
        return Ok(text);
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
        assert_eq!(Username::parse("विद्यार्थी").unwrap().as_str(), "विद्यार्थी", "marks belong to their letters");
        assert_eq!(Username::parse("علی\u{200c}رضا").unwrap(), Username::parse("علیرضا").unwrap());
        for text in ["ab", "a@b.c", "a b c", &"x".repeat(41), "\u{301}abc", "a\u{3164}\u{3164}b"] {
            assert!(Username::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_name_is_something_that_is_seen() {
        assert_eq!(DisplayName::parse(" Jose\u{301}\u{a0}\u{200b}Nuñez ").unwrap().as_str(), "José Nuñez");
        for text in ["", " ", "\u{200b}", "\u{3164}", "\u{2800}", "\u{301}", "a\nb", "\0"] {
            assert!(DisplayName::parse(text).is_err(), "{text:?}");
        }
    }
}
