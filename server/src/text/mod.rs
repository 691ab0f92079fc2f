//! Texts that people write: their one form, and which of them are the same. Every door calls these functions, and none has
//! rules of its own.
//!
//! - [`shown`]: what people compare by eye and choose by, such as names, titles and groups. One line, in NFC.
//! - [`read`]: what people only read, such as reasons. May have several lines.
//! - [`signed_in_by`]: addresses and user names. Small letters; every other letter is a letter of its own, also `ß` and `ı`,
//!   because the mailbox behind it is.
//! - [`code`]: codes, in capitals.
//! - [`alike`]: what a search and a comparison of words work on. Here `ß` is `ss`, and all four Turkish letters i are one.
//!
//! Signs that nobody sees are taken out, except where a script or an emoji needs them to look as it does.

mod unseen;

use muster_sync_core::typed;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{canonical_combining_class, is_combining_mark};

pub use unseen::is_unseen;

/// One line as people see it: NFC, nothing unseen that changes nothing, and one space where there is any space between words.
pub fn shown(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in settled(text, unseen::without_needless).trim().split(is_blank).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// A text that people read: NFC, nothing unseen but what directs the reading, its lines and spaces as they are.
pub fn read(text: &str) -> String {
    let text = settled(text, unseen::without_deceiving).replace("\r\n", "\n").replace('\r', "\n");
    text.trim().to_owned()
}

/// A name that somebody signs in with, or an address: NFC, small letters, nothing unseen, no spaces around it.
pub fn signed_in_by(name: &str) -> String {
    nfc(&without_second_dot(&nfc(&unseen::without_any(name)).trim().to_lowercase()))
}

/// A code, in capitals: NFC, nothing unseen, one space where there is any. The dashes, digits and wide letters of every
/// keyboard are those of ASCII, because nobody means another course by them.
pub fn code(text: &str) -> String {
    nfc(&without_second_dot(&shown(&unseen::without_any(&typed::ascii_signs(text))).to_uppercase()))
}

/// What is left of a text when only what it says counts: two texts that say the same are equal here.
pub fn alike(text: &str) -> String {
    let large: String = nfc(&unseen::without_any(text)).chars().flat_map(char::to_uppercase).collect();
    let small: String = nfc(&large).chars().flat_map(char::to_lowercase).collect();
    let words: Vec<&str> = small.trim().split(is_blank).filter(|word| !word.is_empty()).collect();
    nfc(&without_second_dot(&words.join(" ")))
}

/// A text in NFC that `tidy` leaves as it is. Whether a sign is needed depends on its neighbours, and taking one out may
/// bring the marks around it into another order; each round takes out at least one.
fn settled(text: &str, tidy: impl Fn(&str) -> String) -> String {
    let mut text = nfc(text);
    loop {
        let tidied = nfc(&tidy(&text));
        if tidied == text {
            return text;
        }
        text = tidied;
    }
}

/// The small letter of `İ` is an i and its capital an I; Unicode's mapping for all languages leaves the dot behind, as a mark
/// that nobody types.
fn without_second_dot(text: &str) -> String {
    let mut letter = None;
    let without = text.nfd().filter(|c| {
        // Other marks of the same letter may stand between it and its dot.
        if canonical_combining_class(*c) == 0 {
            letter = Some(*c);
        }
        *c != '\u{307}' || !matches!(letter, Some('i' | 'I'))
    });
    without.nfc().collect()
}

/// Whether a line holds what no line can: a sign that ends it, rings, or ends a text in some program.
pub fn has_controls(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// The same for a text of several lines.
pub fn has_controls_within(text: &str) -> bool {
    text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'))
}

/// Whether the text is letters with their marks, digits, and some other signs.
pub fn is_word(text: &str, also: &[char]) -> bool {
    let mut before = None;
    text.chars().all(|c| {
        let of_letter = is_combining_mark(c)
            && before.is_some_and(|before: char| before.is_alphanumeric() || is_combining_mark(before));
        before = Some(c);
        c.is_alphanumeric() || of_letter || also.contains(&c)
    })
}

/// A space of whatever width. A tab or the end of a line within a name is no space but a mistake, so it stays and is refused.
fn is_blank(c: char) -> bool {
    c != '\t' && (c == ' ' || c == '\u{2800}' || (c.is_whitespace() && !c.is_control()))
}

fn nfc(text: &str) -> String {
    text.nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ways_of_writing_one_text_are_one_text() {
        for (one, other) in [
            ("Jose\u{301} Nun\u{303}ez", "José Nuñez"),
            ("\u{feff}Ada\u{a0}Lovelace ", "Ada Lovelace"),
            ("Ada\u{200b} \u{2009} Love\u{ad}lace\u{200f}", "Ada Lovelace"),
            ("e\u{200b}\u{301}", "é"),
            ("\u{3000}山田\u{3000}太郎", "山田 太郎"),
        ] {
            assert_eq!(shown(one), other, "{one:?}");
        }
    }

    #[test]
    fn what_scripts_and_emoji_need_stays() {
        for name in [
            "می\u{200c}خواهم",
            "ශ්\u{200d}රී",
            "അനില്\u{200d}",
            "क्\u{200d}ष",
            "👩\u{200d}💻",
            "❤\u{fe0f}",
            "1\u{fe0f}\u{20e3}",
            "葛\u{e0100}城",
            "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
        ] {
            assert_eq!(shown(name), name, "{name:?}");
        }
        assert_eq!(alike("می\u{200c}خواهم"), alike("میخواهم"), "whoever searches need not type it");
    }

    #[test]
    fn what_they_do_not_need_goes() {
        for (text, seen) in [
            ("a\u{200d}b", "ab"),
            ("می\u{200c}\u{200c}خ", "می\u{200c}خ"),
            ("x\u{fe0f}y", "xy"),
            ("a\u{e0041}b", "ab"),
            ("\u{202e}ada\u{202c}", "ada"),
            ("ada\u{3164}", "ada"),
            ("\u{2066}x\u{2069}\u{2060}", "x"),
        ] {
            assert_eq!(shown(text), seen, "{text:?}");
        }
        assert_eq!(read("see \u{202e}below\u{202c}\r\nand \u{200f}here "), "see below\nand \u{200f}here");
    }

    #[test]
    fn letters_are_the_same_where_people_mean_the_same() {
        assert_eq!(signed_in_by(" \u{feff}İsmail@Uni.Example\u{200b}"), "ismail@uni.example");
        assert_eq!(signed_in_by("ADA"), signed_in_by("ada"));
        for (one, other) in [("straße", "strasse"), ("ısıl", "isil")] {
            assert_ne!(signed_in_by(one), signed_in_by(other), "they are two mailboxes");
            assert_eq!(alike(one), alike(other), "and one search");
            assert_eq!(code(one), code(other), "and one code");
        }
        for (one, other) in [("STRASSE", "Straße"), ("IŞIK", "ışık"), ("İŞ", "iş"), ("ΣΑΣ", "σας"), ("\u{212a}", "k")]
        {
            assert_eq!(alike(one), alike(other), "{one} {other}");
        }
    }

    /// Every text of four signs out of those that matter to each other.
    #[test]
    fn a_text_in_its_form_stays_as_it_is() {
        const SIGNS: [char; 19] = [
            'a',
            'I',
            'İ',
            'ß',
            ' ',
            '\u{a0}',
            '\u{301}',
            '\u{307}',
            'م',
            '\u{94d}',
            'क',
            '\u{200c}',
            '\u{200d}',
            '\u{200b}',
            '👩',
            '\u{fe0f}',
            '葛',
            '\u{e0100}',
            'Σ',
        ];
        let mut text = String::new();
        for index in 0..SIGNS.len().pow(4) {
            text.clear();
            text.extend((0..4).map(|place| SIGNS[index / SIGNS.len().pow(place) % SIGNS.len()]));
            for form in [shown, read, signed_in_by, code, alike] {
                let once = form(&text);
                assert_eq!(form(&once), once, "{text:?}");
            }
            assert_eq!(alike(&shown(&text)), alike(&text), "{text:?}");
        }
    }

    #[test]
    fn ends_of_lines_are_seen_by_whoever_asks() {
        assert!(has_controls(&shown("a\nb")) && has_controls(&shown("a\tb")) && has_controls("\0"));
        assert!(!has_controls_within("a\n\tb") && has_controls_within("a\u{7}"));
        assert_eq!(shown("a\n"), "a", "at its end it says nothing");
    }
}
