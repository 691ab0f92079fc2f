//! What somebody typed, read as the code that they were shown: by phone and server alike.
//!
//! Codes are in Crockford's base32, whose characters were chosen so that what looks alike is one. Keyboards, apps that
//! "correct" punctuation and copying add the rest: other dashes and blanks, digits of other scripts, full-width letters,
//! and letters of other alphabets that look the same. Nothing that has two readings is read.

/// The alphabet of codes and locators.
pub const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Longest text that is read as a code, in characters: a code with a separator behind each of its characters.
pub const TYPED_CHARS_MAX: usize = 64;

/// The characters of a code in capitals without what separates them; `None` if the text has other characters, or too many.
#[must_use]
pub fn code(text: &str) -> Option<String> {
    let mut code = String::new();
    for (index, typed) in text.chars().enumerate() {
        if index >= TYPED_CHARS_MAX {
            return None;
        }
        if is_separator(typed) {
            continue;
        }
        let meant = match plain(typed).to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        };
        let known = u8::try_from(meant).is_ok_and(|byte| CROCKFORD.contains(&byte));
        code.push(known.then_some(meant)?);
    }
    Some(code)
}

/// The digits of a code that has nothing else; `None` if the text has other characters, or too many.
#[must_use]
pub fn digits(text: &str) -> Option<String> {
    code(text).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A text with the dashes, blanks, digits and full-width signs of any keyboard as ASCII has them. Its letters stay what
/// they are: for names that people choose, such as a course's code.
#[must_use]
pub fn ascii_signs(text: &str) -> String {
    let visible = text.chars().filter(|c| !is_invisible(*c));
    visible
        .map(|c| match c {
            _ if is_dash(c) => '-',
            _ if c.is_whitespace() => ' ',
            _ => digit(c).or_else(|| full_width(c)).unwrap_or(c),
        })
        .collect()
}

/// Whether a sign only separates or decorates: blanks, dashes, quotes and stops, and what nobody sees.
fn is_separator(c: char) -> bool {
    if c.is_ascii_alphanumeric() {
        return false;
    }
    let decorates = matches!(c,
        '_' | '.' | ',' | ':' | ';' | '\'' | '"' | '`' | '*' | '/' | '(' | ')' | '[' | ']'
        | '\u{B4}' | '\u{B7}' | '\u{AB}' | '\u{BB}' | '\u{2018}'..='\u{201F}' | '\u{2022}' | '\u{2026}' | '\u{2032}'
        | '\u{2033}' | '\u{2039}' | '\u{203A}' | '\u{3001}' | '\u{3002}' | '\u{300C}'..='\u{300F}' | '\u{30FB}'
        | '\u{FF0C}' | '\u{FF0E}' | '\u{FF1A}');
    c.is_whitespace() || is_dash(c) || is_invisible(c) || decorates
}

/// Dashes, hyphens and minus signs, and the lengthening mark that Japanese keyboards have in their place.
fn is_dash(c: char) -> bool {
    matches!(
        c,
        '-' | '\u{58A}' | '\u{5BE}' | '\u{1806}' | '\u{2010}'
            ..='\u{2015}'
                | '\u{2043}'
                | '\u{207B}'
                | '\u{208B}'
                | '\u{2212}'
                | '\u{2500}'
                | '\u{2501}'
                | '\u{2796}'
                | '\u{2E17}'
                | '\u{2E3A}'
                | '\u{2E3B}'
                | '\u{301C}'
                | '\u{3030}'
                | '\u{30FC}'
                | '\u{FE31}'
                | '\u{FE32}'
                | '\u{FE58}'
                | '\u{FE63}'
                | '\u{FF0D}'
                | '\u{FF70}'
    )
}

/// Signs without a width, also those that say in which direction a text runs.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{2069}' | '\u{FE0E}' | '\u{FE0F}' | '\u{FEFF}')
}

/// The letter or digit of ASCII that a sign is, or looks like in every font; the sign itself if there is none.
fn plain(c: char) -> char {
    if c.is_ascii() {
        return c;
    }
    digit(c).or_else(|| full_width(c)).or_else(|| look_alike(c)).unwrap_or(c)
}

/// Where the ten digits of each script begin (Unicode's decimal numbers).
const ZEROS: [u32; 41] = [
    0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0DE6, 0x0E50,
    0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50,
    0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6,
];

fn digit(c: char) -> Option<char> {
    let value = ZEROS.iter().find_map(|zero| u32::from(c).checked_sub(*zero).filter(|value| *value < 10))?;
    char::from_digit(value, 10)
}

/// East Asian keyboards write all of ASCII in a wide form, too.
fn full_width(c: char) -> Option<char> {
    let offset = u32::from(c).checked_sub(0xFF01).filter(|offset| *offset <= 0x5D)?;
    char::from_u32(0x21 + offset)
}

/// Letters of the Cyrillic, Greek and Turkish keyboards that look like one of ours, and like no other.
fn look_alike(c: char) -> Option<char> {
    Some(match c {
        'А' | 'а' | 'Α' | 'α' => 'A',
        'В' | 'в' | 'Β' | 'β' => 'B',
        'С' | 'с' | 'Ϲ' | 'ϲ' => 'C',
        'Е' | 'е' | 'Ё' | 'ё' | 'Ε' | 'ε' => 'E',
        'Н' | 'н' | 'Η' => 'H',
        'І' | 'і' | 'Ӏ' | 'ӏ' | 'Ι' | 'ι' | 'İ' | 'ı' => 'I',
        'Ј' | 'ј' => 'J',
        'К' | 'к' | 'Κ' | 'κ' | '\u{212A}' => 'K',
        'М' | 'м' | 'Μ' => 'M',
        'Ν' => 'N',
        'О' | 'о' | 'Ο' | 'ο' => 'O',
        'Р' | 'р' | 'Ρ' | 'ρ' => 'P',
        'Ѕ' | 'ѕ' => 'S',
        'Т' | 'т' | 'Τ' | 'τ' => 'T',
        'Ѵ' | 'ѵ' => 'V',
        'Ԝ' | 'ԝ' => 'W',
        'Х' | 'х' | 'Χ' | 'χ' => 'X',
        'У' | 'у' | 'Υ' => 'Y',
        'Ζ' | 'ζ' => 'Z',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_it_was_shown_whatever_keyboard_wrote_it() {
        for typed in [
            "K7M2QX",
            "k7m2qx",
            " K7M-2QX\u{A0}",
            "K7M\u{2013}2QX",
            "\u{201C}K7M2QX\u{201D}.",
            "\u{FEFF}K7\u{200B}M2\u{AD}QX",
            "Ｋ７Ｍ２ＱＸ",
            "ｋ７ｍ－２ｑｘ",
            "K\u{667}M\u{662}QX",
            "к7м2Qх",
            "Κ7Μ2QΧ",
        ] {
            assert_eq!(code(typed).as_deref(), Some("K7M2QX"), "{typed:?}");
        }
        assert_eq!(code("Oo0 IiLl1 Оİı").as_deref(), Some("00011111011"));
    }

    #[test]
    fn what_has_no_reading_or_two_is_no_code() {
        for wrong in ["K7M2QU", "K7M2Q!", "K7M2Qй", "ν", "η", "υ", "μ", "🦀", "K+7", "²"] {
            assert_eq!(code(wrong), None, "{wrong:?}");
        }
        assert_eq!(code(&"1".repeat(TYPED_CHARS_MAX)).map(|code| code.len()), Some(TYPED_CHARS_MAX));
        assert_eq!(code(&"1".repeat(TYPED_CHARS_MAX + 1)), None);
        assert_eq!(code(""), Some(String::new()));
    }

    #[test]
    fn digits_of_every_script_are_digits() {
        for typed in ["123 456", "１２３４５６", "١٢٣٤٥٦", "۱۲۳۴۵۶", "१२३-४५६", "๑๒๓๔๕๖", "l23456", "𝟏𝟐𝟑𝟒𝟓𝟔"]
        {
            assert_eq!(digits(typed).as_deref(), Some("123456"), "{typed}");
        }
        assert_eq!(digits("O0о").as_deref(), Some("000"));
        assert_eq!(digits("12345A"), None);
    }

    #[test]
    fn the_letters_of_a_chosen_name_stay() {
        assert_eq!(ascii_signs("ＣＳ\u{2013}１０１\u{200B}"), "CS-101");
        assert_eq!(ascii_signs("МАТ\u{A0}١"), "МАТ 1");
    }
}
